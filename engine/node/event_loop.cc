#include "engine/node/event_loop.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace ray_engine {
namespace {

constexpr auto kSpin = std::chrono::microseconds(100);
constexpr auto kYieldEvery = std::chrono::microseconds(1);
constexpr auto kDescriptorsEvery = std::chrono::microseconds(20);

epoll_event Event(int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  return event;
}

}  // namespace

EventLoop::~EventLoop() {
  timers_.clear();  // tasks may own what still unwatches its descriptor
  if (epoll_fd_ >= 0) close(epoll_fd_);
}

absl::Status EventLoop::Open() {
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  return epoll_fd_ < 0 ? absl::ErrnoToStatus(errno, "cannot create an epoll descriptor") : absl::OkStatus();
}

void EventLoop::Watch(int fd, Handler handler) {
  epoll_event event = Event(fd, EPOLLIN);
  epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event);
  handlers_[fd] = std::make_shared<Handler>(std::move(handler));
}

void EventLoop::Unwatch(int fd) {
  if (handlers_.erase(fd) != 0) epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
}

void EventLoop::WatchWritable(int fd, bool wanted) {
  epoll_event event = Event(fd, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN);
  epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::After(Time delay, std::function<void()> task) {
  timers_.emplace(Clock::now() + delay, std::move(task));
}

void EventLoop::Run() {
  Clock::time_point last_work = Clock::now();
  while (!stopped_) {
    bool worked = PollSources();
    worked |= RunTimers();
    const Clock::time_point now = Clock::now();
    if (now - last_descriptor_poll_ > kDescriptorsEvery) {
      last_descriptor_poll_ = now;
      worked |= PollDescriptors(0);
    }
    if (worked) {
      last_work = now;
    } else {
      WaitForWork(last_work);
    }
  }
}

bool EventLoop::PollSources() {
  bool worked = false;
  for (Source* source : sources_) worked |= source->Poll();
  return worked;
}

bool EventLoop::RunTimers() {
  if (timers_.empty() || timers_.begin()->first > Clock::now()) return false;
  const std::function<void()> task = std::move(timers_.begin()->second);
  timers_.erase(timers_.begin());
  task();
  return true;
}

bool EventLoop::PollDescriptors(int timeout_ms) {
  epoll_event events[64];
  const int count = epoll_wait(epoll_fd_, events, 64, timeout_ms);
  bool worked = false;
  for (int i = 0; i < count; ++i) {
    const auto found = handlers_.find(events[i].data.fd);
    if (found == handlers_.end() || *found->second == nullptr) continue;
    const std::shared_ptr<Handler> handler = found->second;  // it may unwatch itself
    (*handler)(events[i].events);
    worked = true;
  }
  return worked;
}

void EventLoop::WaitForWork(Clock::time_point idle_since) {
  const Clock::time_point now = Clock::now();
  if (now - idle_since > kSpin || crowding_.IsCrowded(NowNs())) {
    Sleep();
    return;
  }
  crowding_.Yield();
  while (Clock::now() - now < kYieldEvery) {
  }
}

void EventLoop::Sleep() {
  bool ready = true;
  for (Source* source : sources_) ready = ready && source->PrepareToSleep();
  if (ready && !stopped_) {
    last_descriptor_poll_ = Clock::now();
    PollDescriptors(SleepMilliseconds());
  }
  for (Source* source : sources_) source->AfterSleep();
}

int EventLoop::SleepMilliseconds() const {
  if (timers_.empty()) return -1;
  const auto left = timers_.begin()->first - Clock::now();
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(left).count() + 1;
  return static_cast<int>(std::clamp<std::int64_t>(milliseconds, 0, 1'000'000));
}

}  // namespace ray_engine
