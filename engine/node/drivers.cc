#include "engine/node/drivers.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

namespace ray_engine {
namespace {

UniqueFd OpenPid(std::uint32_t pid) {
#ifdef SYS_pidfd_open
  return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
#else
  return UniqueFd();
#endif
}

}  // namespace

Drivers::Drivers(EventLoop* loop, Router* router, Processes* processes, const Welcomes* welcomes)
    : loop_(loop), router_(router), processes_(processes), welcomes_(welcomes) {
  processes_->OnReady([this](Process* process) {
    if (process->kind == Process::kDriver) WatchPid(*process);
  });
  processes_->OnEnded([this](const Process& process, const std::string&) { Drop(process.serial); });
}

Drivers::~Drivers() {
  for (auto& [serial, driver] : drivers_) {
    if (driver.pidfd.valid()) loop_->Unwatch(driver.pidfd.get());
  }
}

void Drivers::Add(ControlSocket socket) {
  const Process* process = processes_->Admit(Process::kDriver);
  if (process == nullptr) {
    (void)socket.Send(Refused{"the node has no room for more processes"});
    return;
  }
  const std::uint32_t serial = process->serial;
  auto channel = std::make_unique<ControlChannel>(
      loop_, std::move(socket), [](ControlPacket&) {}, [this, serial] { Gone(serial, "has left the session"); });
  channel->Send(welcomes_->For(*process), welcomes_->Fds());
  drivers_[serial].channel = std::move(channel);
}

void Drivers::WatchPid(const Process& process) {
  Driver& driver = drivers_[process.serial];
  if (driver.pidfd.valid()) return;
  driver.pidfd = OpenPid(process.pid);
  const std::uint32_t serial = process.serial;
  if (driver.pidfd.valid())
    loop_->Watch(driver.pidfd.get(), [this, serial](std::uint32_t) { Gone(serial, "has died"); });
}

void Drivers::Gone(std::uint32_t serial, const std::string& how) {
  const Process* process = processes_->table().Find(serial);
  if (process == nullptr) return;
  processes_->End(serial, fmt::format("driver {} (pid {}) {}", ToString(processes_->IdOf(serial)), process->pid, how));
}

void Drivers::Drop(std::uint32_t serial) {
  const auto it = drivers_.find(serial);
  if (it == drivers_.end()) return;
  if (it->second.pidfd.valid()) loop_->Unwatch(it->second.pidfd.get());
  it->second.channel->Close();
  auto driver = std::make_shared<Driver>(std::move(it->second));
  drivers_.erase(it);
  loop_->After({}, [driver] {});  // this may be called by its channel
}

void Drivers::TellAll(const std::string& reason) {
  for (const auto& [serial, driver] : drivers_) router_->Send(processes_->IdOf(serial), Shutdown{reason}, true);
}

}  // namespace ray_engine
