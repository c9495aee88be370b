#include "engine/node/processes.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace ray_engine {

Processes::Processes(Router* router, NodeLinks* links) : router_(router), links_(links) {
  router_->On<Ready>([this](ProcessId from, const Ready& ready) { HandleReady(from, ready); });
  router_->On<Watch>([this](ProcessId from, const Watch& watch) { HandleWatch(from, watch); });
  router_->On<LinkRequest>([this](ProcessId from, const LinkRequest& request) { HandleLinkRequest(from, request); });
  router_->On<LinkClosed>(
      [this](ProcessId from, const LinkClosed& closed) { broker().OnClosed(from.serial, closed.peer.serial); });
  router_->On<ProcessGone>([this](ProcessId, const ProcessGone& gone) { HandleGone(gone.process, gone.cause); });
  router_->SetCauseOf([this](ProcessId process) { return CauseOf(process); });
}

LinkBroker& Processes::broker() {
  if (!broker_) broker_.emplace(router_->self().node, links_);
  return *broker_;
}

Process* Processes::Admit(Process::Kind kind) {
  Process* process = table_.Add(kind);
  if (links_->Open(IdOf(process->serial)) != 0) return process;
  table_.Remove(process->serial, "the node has no room for more processes");
  return nullptr;
}

void Processes::HandleReady(ProcessId from, const Ready& ready) {
  Process* process = table_.Find(from.serial);
  if (process == nullptr) return;
  process->ready = true;
  process->pid = ready.pid;
  for (const auto& listener : on_ready_) listener(process);
}

void Processes::HandleWatch(ProcessId from, const Watch& watch) {
  const ProcessId target = watch.process;
  if (!Lives(target)) {
    Tell(from, target, CauseOf(target));
  } else if (watches_.Add(from, target) && target.node != router_->self().node) {
    router_->Send(target.Engine(), watch);
  }
}

void Processes::HandleLinkRequest(ProcessId from, const LinkRequest& request) {
  const ProcessId peer = request.peer;
  if (!Lives(peer)) {
    Tell(from, peer, CauseOf(peer));
  } else if (peer.node != router_->self().node || peer.IsEngine() || peer == from) {
    router_->Send(from, LinkGrant{peer, 0, 0}, true);
  } else {
    for (const LinkBroker::Grant& grant : broker().OnRequest(from.serial, peer.serial)) {
      router_->Send(IdOf(grant.to), grant.grant, true);
    }
  }
}

bool Processes::Lives(ProcessId process) {
  if (process.node != router_->self().node) return lost_nodes_.count(process.node) == 0;
  return process.IsEngine() || table_.Find(process.serial) != nullptr;
}

std::string Processes::NameOf(ProcessId id) {
  const Process* process = id.node == router_->self().node ? table_.Find(id.serial) : nullptr;
  if (process == nullptr) return ToString(id);
  return fmt::format("{} {} (pid {})", process->name, ToString(id), process->pid);
}

std::string Processes::CauseOf(ProcessId process) const {
  const auto lost = lost_nodes_.find(process.node);
  if (lost != lost_nodes_.end()) return lost->second;
  return process.node == router_->self().node ? table_.CauseOf(process.serial) : "its node is not part of the session";
}

void Processes::End(std::uint32_t serial, const std::string& cause) {
  if (table_.Find(serial) == nullptr) return;
  const ProcessId id = IdOf(serial);
  links_->Close(serial);  // what it said before goes first
  router_->Forget(id);
  table_.Remove(serial, cause);
  watches_.Forget(id);
  std::set<ProcessId> to_tell = {kHead};
  for (const std::uint32_t linked : broker().OnGone(serial)) to_tell.insert(IdOf(linked));
  for (const ProcessId watcher : watches_.Take(id)) to_tell.insert(watcher);
  for (const ProcessId whom : to_tell) Tell(whom, id, cause);
  const Process process = *table_.FindAny(serial);
  for (const auto& listener : on_ended_) listener(process, cause);
}

void Processes::EndNode(std::uint32_t node, const std::string& reason) {
  if (!lost_nodes_.emplace(node, reason).second) return;
  watches_.Forget(ProcessId{node, 0});
  for (const ProcessId target : watches_.TargetsOn(node)) HandleGone(target, reason);
}

void Processes::Tell(ProcessId whom, ProcessId gone, const std::string& cause) {
  router_->Send(whom, ProcessGone{gone, cause}, true);
}

void Processes::HandleGone(ProcessId gone, const std::string& cause) {
  for (const ProcessId watcher : watches_.Take(gone)) {
    if (watcher != router_->self()) Tell(watcher, gone, cause);
  }
  for (const auto& listener : on_gone_) listener(gone, cause);
}

}  // namespace ray_engine
