#include "engine/node/forkservers.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <csignal>
#include <utility>
#include <vector>

namespace ray_engine {
namespace {

constexpr auto kGrace = std::chrono::milliseconds(300);  // between the request to end and the kill

}  // namespace

void Forkservers::Connect(WorkerService* workers, Processes* processes) {
  workers_ = workers;
  processes->OnEnded([this](const Process& process, const std::string&) { sockets_.erase(process.serial); });
}

void Forkservers::Add(ControlSocket socket, double num_cpus) {
  const std::uint32_t id = next_forkserver_++;
  forkservers_[id] = std::make_unique<ControlChannel>(
      loop_, std::move(socket), [this, id](ControlPacket& packet) { HandlePacket(id, packet); },
      [this, id] { HandleGone(id); });
  workers_->OnForkserverUp(id, num_cpus);
}

absl::Status Forkservers::Start(const Process& process, const WorkerPool::Fork& fork, const JobInfo& job) {
  const auto forkserver = forkservers_.find(fork.forkserver);
  if (forkserver == forkservers_.end()) return absl::UnavailableError("its forkserver has ended");
  absl::StatusOr<std::pair<ControlSocket, ControlSocket>> pair = ControlSocket::Pair();
  if (!pair.ok()) return pair.status();
  (void)pair->first.Send(welcomes_->For(process), welcomes_->Fds());
  Fork packet;
  packet.serial = fork.serial;
  packet.job = fork.key.job;
  packet.name = process.name;
  packet.environment = fork.key.environment;
  packet.node_environment = config_->accelerator_environment;
  packet.units = fork.key.units;
  packet.job_config = job.config;
  const int worker_end = pair->second.fd();
  used_.insert(fork.forkserver);
  forkserver->second->Send(packet, absl::MakeConstSpan(&worker_end, 1));
  sockets_[fork.serial] = std::move(pair->first);
  return absl::OkStatus();
}

void Forkservers::Kill(const Process& process) {
  const auto forkserver = forkservers_.find(process.forkserver);
  if (forkserver != forkservers_.end()) forkserver->second->Send(ray_engine::Kill{process.serial, SIGKILL});
}

void Forkservers::HandlePacket(std::uint32_t forkserver, ControlPacket& packet) {
  Forked forked;
  Exited exited;
  Output output;
  Flushed flushed;
  if (packet.As(&forked)) {
    workers_->OnForked(forked.serial, forked.pid, forked.error);
  } else if (packet.As(&exited)) {
    workers_->OnExited(exited.serial, exited.status);
  } else if (packet.As(&output)) {
    on_output_(output);
  } else if (packet.As(&flushed)) {
    flushed_.OnAnswer(flushed.token, forkserver, flushed);
  } else {
    spdlog::warn("a forkserver sent a packet of type {}, which is not for an engine", static_cast<int>(packet.type));
  }
}

void Forkservers::HandleGone(std::uint32_t forkserver) {
  if (!ending_) spdlog::error("a forkserver of this node has ended");
  const std::shared_ptr<ControlChannel> channel = std::move(forkservers_.at(forkserver));
  forkservers_.erase(forkserver);
  used_.erase(forkserver);
  loop_->After({}, [channel] {});  // which is what calls this
  flushed_.OnGone(forkserver);
  workers_->OnForkserverGone(forkserver);
}

void Forkservers::FlushOutput(std::function<void()> done) {
  const std::uint64_t round = flushed_.Begin(used_, [done = std::move(done)](const std::vector<Flushed>&) { done(); });
  for (const std::uint32_t id : used_) forkservers_.at(id)->Send(Flush{round});
}

void Forkservers::EndAll(const std::string& reason) {
  ending_ = true;
  workers_->Stop();
  for (const auto& [serial, socket] : sockets_) {
    router_->Send(ProcessId{router_->self().node, serial}, Shutdown{reason}, true);
  }
  loop_->After(kGrace, [this] { KillAll(); });
}

void Forkservers::KillAll() {
  for (const auto& [serial, socket] : sockets_) workers_->KillProcess(serial, "the session ends");
}

}  // namespace ray_engine
