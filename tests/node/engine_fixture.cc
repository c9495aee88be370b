#include "tests/node/engine_fixture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace ray_engine {
namespace {

// Tests and programs are built into the same folder.
std::string EnginePath() {
  char path[PATH_MAX] = "";
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
  const std::string self(path, size > 0 ? static_cast<std::size_t>(size) : 0);
  return self.substr(0, self.rfind('/') + 1) + "ray-engine-node";
}

pid_t Spawn(const std::vector<std::string>& arguments, const std::vector<int>& inherited) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const int fd : inherited) fcntl(fd, F_SETFD, 0);
  execv(argv[0], argv.data());
  _exit(127);
}

}  // namespace

bool WaitUntil(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kLimit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    sched_yield();
  }
  return true;
}

// ---- process -------------------------------------------------------------------------------------------------------

TestProcess::TestProcess(ControlSocket socket) : socket_(std::move(socket)) {
  absl::StatusOr<ControlPacket> packet = socket_.WaitReceive(kLimit);
  if (!packet.ok() || !packet->As(&welcome_) || packet->fds.size() != 3) {
    ADD_FAILURE() << "no Welcome with three descriptors";
    abort();
  }
  segment_ = *LinkSegment::Attach(packet->fds[0].Release(), welcome_.link_segment_bytes);
  store_ = *Segment::Map(packet->fds[1].Release());
  engine_eventfd_ = std::move(packet->fds[2]);
  links_.push_back(std::make_unique<Link>(segment_, welcome_.engine_link, 1, engine_eventfd_.get()));
  segment_.block(segment_.link(welcome_.engine_link)->slots[1])->attention.store(Attention::kPolling);
}

void TestProcess::SendFrame(Link* link, ProcessId to, MessageType type, const std::string& payload) {
  FrameHeader header;
  header.type = type;
  header.from = id();
  header.to = to;
  link->Send(header, payload);
}

void TestProcess::Open(const LinkGrant& grant) {
  ASSERT_TRUE(segment_.IsLinkOffset(grant.offset));
  links_.push_back(std::make_unique<Link>(segment_, grant.offset, grant.side, engine_eventfd_.get()));
}

void TestProcess::Drain() {
  for (const auto& link : links_) {
    link->Flush();
    link->Drain([this](const FrameHeader& header, std::string_view payload) {
      joiner_.Add(header, payload, [this](const FrameHeader& last, std::string_view message) {
        received_.push_back({last.from, last.type, std::string(message)});
      });
    });
  }
}

void TestProcess::ReportMissing(MessageType type) {
  ADD_FAILURE() << "no message of type " << static_cast<int>(type) << " came";
}

void TestProcess::DamageRing() {
  LinkMemory* memory = segment_.link(welcome_.engine_link);
  std::memset(memory->data[1], 0x7f, kRingBytes);
  memory->rings[1].tail += 64;
  eventfd_write(engine_eventfd_.get(), 1);
}

bool TestProcess::EngineGone() { return !socket_.Receive().ok(); }

// ---- engine --------------------------------------------------------------------------------------------------------

std::string TestEngine::NewSession() { return "test-" + ActorId::Random().Hex(); }

TestEngine::TestEngine(const std::vector<std::string>& more_arguments, const std::string& session) {
  auto control = *ControlSocket::Pair();
  auto forkserver = *ControlSocket::Pair();
  auto driver = *ControlSocket::Pair();
  std::vector<std::string> arguments = {EnginePath(),
                                        fmt::format("--control-fd={}", control.second.fd()),
                                        fmt::format("--forkserver-fd={}", forkserver.second.fd()),
                                        "--session=" + session,
                                        "--num-cpus=2",
                                        "--object-store-memory=8M",
                                        "--resources=custom=3",
                                        "--labels=zone=a"};
  std::vector<int> inherited = {control.second.fd(), forkserver.second.fd()};
  bool head = true;
  for (const std::string& argument : more_arguments) {
    head = head && argument.find("--join") != 0;
    arguments.push_back(argument);
  }
  if (head) {
    arguments.push_back("--head");
    arguments.push_back(fmt::format("--driver-fd={}", driver.second.fd()));
    inherited.push_back(driver.second.fd());
  }
  pid_ = Spawn(arguments, inherited);
  control_ = std::move(control.first);
  forkserver_ = std::move(forkserver.first);
  driver_ = std::move(driver.first);
}

TestEngine::~TestEngine() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

EngineUp TestEngine::WaitUp() {
  EngineUp up;
  absl::StatusOr<ControlPacket> packet = control_.WaitReceive(kLimit);
  EXPECT_TRUE(packet.ok() && packet->As(&up)) << "the engine did not come up";
  return up;
}

int TestEngine::WaitExit() {
  int status = 0;
  if (!WaitUntil([&] { return waitpid(pid_, &status, WNOHANG) == pid_; })) return -1;
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::unique_ptr<TestProcess> TestEngine::StartDriver() {
  auto driver = std::make_unique<TestProcess>(std::move(driver_));
  driver->SendReady(static_cast<std::uint32_t>(getpid()));
  return driver;
}

bool TestEngine::ForkserverIsAsked() {
  pollfd waiting{forkserver_.fd(), POLLIN, 0};
  return poll(&waiting, 1, 0) == 1 && (waiting.revents & POLLIN) != 0;
}

std::unique_ptr<TestProcess> TestEngine::ForkWorker(std::uint32_t pid) {
  std::vector<UniqueFd> fds;
  const Fork fork = NextForForkserver<Fork>(&fds);
  if (fds.size() != 1) {
    ADD_FAILURE() << "no socket beside Fork";
    abort();
  }
  FromForkserver(Forked{fork.serial, pid, ""});
  auto worker = std::make_unique<TestProcess>(ControlSocket(std::move(fds[0])));
  EXPECT_EQ(worker->id().serial, fork.serial);
  worker->SendReady(pid);
  return worker;
}

void TestEngine::ReportUnexpected(ControlType type) {
  ADD_FAILURE() << "the engine did not send the control packet of type " << static_cast<int>(type);
}

}  // namespace ray_engine
