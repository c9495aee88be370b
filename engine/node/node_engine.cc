#include "engine/node/node_engine.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <chrono>
#include <utility>

#include "engine/base/version.h"

namespace ray_engine {
namespace {

constexpr auto kHeadPatience = std::chrono::milliseconds(3000);
constexpr auto kMemberPatience = std::chrono::milliseconds(2000);
constexpr auto kJoinPatience = std::chrono::seconds(60);  // for nodes whose engines were up before the introduction

void RaiseFdLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

struct NodeEngine::Services {
  Services(NodeEngine* engine, Processes::StoreSegment store)
      : processes(&engine->router_, engine->links_.get(), &engine->config_, store),
        jobs(&engine->router_),
        workers(&engine->loop_, &engine->router_, &processes, &jobs, &engine->config_),
        output(&engine->router_, &processes, &engine->config_),
        objects(&engine->loop_, &engine->router_, &*engine->store_segment_, std::move(engine->disk_)),
        drivers(&engine->loop_, &engine->router_, &processes),
        state(&engine->router_, &processes, &objects, &engine->fabric_, &engine->config_) {
    engine->router_.On<FlushNode>([this, router = &engine->router_](ProcessId, const FlushNode& flush) {
      workers.FlushOutput([router, flush] { router->Send(kHead, NodeFlushed{flush.round}); });
    });
  }

  Processes processes;
  JobCache jobs;
  WorkerService workers;
  OutputService output;
  StoreService objects;
  Drivers drivers;
  NodeState state;
  // The head only:
  std::optional<HeadService> head;
  std::optional<SessionState> session_state;
  std::optional<Membership> membership;
};

NodeEngine::NodeEngine(NodeConfig config, FabricLink::Factory factory, DiskFactory disk_factory)
    : config_(std::move(config)), fabric_(&loop_, std::move(factory)), disk_factory_(std::move(disk_factory)) {}

NodeEngine::~NodeEngine() = default;

absl::Status NodeEngine::Start() {
  RaiseFdLimit();
  if (absl::Status status = loop_.Open(); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<ProcessLinks>> links = ProcessLinks::Create();
  if (!links.ok()) return links.status();
  links_ = *std::move(links);
  absl::StatusOr<Segment> segment = Segment::Create(config_.store_bytes);
  if (!segment.ok()) return segment.status();
  store_segment_ = *std::move(segment);
  if (config_.spill_limit != 0) {
    absl::StatusOr<std::unique_ptr<SpillDisk>> disk = disk_factory_(*store_segment_);
    if (!disk.ok()) return disk.status();
    disk_ = *std::move(disk);
  }
  if (config_.fabric || !config_.join.empty()) {
    if (absl::Status status = fabric_.Open(); !status.ok()) return status;
  }
  gate_.emplace(
      &loop_, Gate::Guests{[this](ControlSocket socket) { services_->drivers.Add(std::move(socket)); },
                           [this](ControlSocket socket, double cpus) { return AddForkserver(std::move(socket), cpus); },
                           [this](const Hello& hello) { return AdmitNode(hello); },
                           [this](std::uint32_t node) { OnNodeLost(node, "it has ended"); }});
  if (absl::Status status = gate_->Bind(config_.socket); !status.ok()) return status;
  return OpenControl();
}

absl::Status NodeEngine::OpenControl() {
  loop_.Watch(links_->eventfd(), [this](std::uint32_t) { links_->HearBell(); });
  loop_.AddSource(&router_);
  loop_.AddSource(links_.get());
  loop_.AddSource(&fabric_);
  links_->SetOnFrame([this](const FrameHeader& header, std::string_view payload) { router_.OnFrame(header, payload); });
  control_ = std::make_unique<ControlChannel>(
      &loop_, ControlSocket(UniqueFd(config_.control_fd)), [this](ControlPacket& packet) { HandleControl(packet); },
      [this] { Abandon("its launcher has ended"); });
  if (!config_.join.empty()) return JoinHead();
  ReportUp();
  return absl::OkStatus();
}

absl::Status NodeEngine::JoinHead() {
  absl::StatusOr<ControlSocket> socket = ControlSocket::Connect(config_.join);
  if (!socket.ok()) return socket.status();
  head_ = std::make_unique<ControlChannel>(
      &loop_, *std::move(socket), [this](ControlPacket& packet) { HandleHead(packet); },
      [this] { Abandon("the head has ended"); });
  Hello hello;
  hello.kind = Hello::kNode;
  hello.build = BuildId();
  hello.fabric_address = fabric_.Address();
  head_->Send(hello);
  return absl::OkStatus();
}

void NodeEngine::ReportUp() { control_->Send(EngineUp{fabric_.Address(), config_.socket, config_.info.id}); }

int NodeEngine::Run() {
  loop_.Run();
  fabric_.Close();  // while those that hear from it still live
  return exit_code_;
}

void NodeEngine::HandleControl(ControlPacket& packet) {
  Introduce introduce;
  DriverExited exited;
  if (packet.As(&introduce) && services_ == nullptr && config_.join.empty()) {
    OnIntroduced(introduce);
  } else if (packet.As(&exited)) {
    End(services_ == nullptr || services_->membership ? "the driver has ended" : "the node was removed", 0);
  }
}

void NodeEngine::HandleHead(ControlPacket& packet) {
  Introduce introduce;
  Refused refused;
  if (packet.As(&introduce) && services_ == nullptr) {
    OnIntroduced(introduce);
  } else if (packet.As(&refused)) {
    Abandon("the session refuses this node: " + refused.reason);
  }
}

void NodeEngine::OnIntroduced(const Introduce& introduce) {
  config_.info.index = introduce.index;
  router_.SetSelf(ProcessId{introduce.index, 0});
  services_ = std::make_unique<Services>(this, Processes::StoreSegment{store_segment_->fd(), store_segment_->size()});
  Services& all = *services_;
  fabric_.Connect(&router_, &all.objects,
                  [this](std::uint32_t node, const std::string& reason) { OnNodeLost(node, reason); });
  if (!fabric_.Address().empty()) fabric_.Introduce(introduce.index, introduce.secret);
  links_->SetOnDamage([&all](ProcessId process) {
    spdlog::error("{} has written over the memory by which it sends messages", all.processes.NameOf(process));
    all.workers.KillProcess(process.serial, "it had written over the memory by which it sends messages");
  });
  all.objects.NameBy([&all](ProcessId process) { return all.processes.NameOf(process); });
  all.workers.OnOutput([&all](const Output& output) { all.output.OnOutput(output); });
  all.processes.OnEnded([this, &all](const Process& process, const std::string&) {
    all.objects.OnClientGone(all.processes.IdOf(process.serial));
    StopIfAllEnded();
  });
  all.processes.OnGone([&all](ProcessId gone, const std::string&) { all.objects.OnOwnerGone(gone); });
  introduce.index == kHead.node ? BeHead(introduce) : BeMember(introduce);
  if (config_.forkserver_fd >= 0)
    all.workers.AddForkserver(ControlSocket(UniqueFd(config_.forkserver_fd)), config_.forkserver_cpus);
  LetGuestsIn();
}

void NodeEngine::BeHead(const Introduce& introduce) {
  Services& all = *services_;
  HeadService& head = all.head.emplace(&loop_, &router_);
  SessionState& state = all.session_state.emplace(&router_, &head);
  head.OnLost([&state](std::uint32_t node) { state.OnNodeLost(node); });
  head.OnJobStarted([this, &all](const JobId& job, ProcessId driver) {
    if (driver.node == router_.self().node) all.workers.Prestart(job);
  });
  all.processes.OnGone([&head](ProcessId gone, const std::string& cause) { head.OnProcessGone(gone, cause); });
  Membership& membership = all.membership.emplace(&router_, &fabric_, &head, &all.processes, introduce);
  BeginHeartbeats(config_.heartbeat);
  membership.OnJoined([this](std::uint32_t node) {
    const auto milliseconds = [](auto time) { return static_cast<std::uint32_t>(time.count()); };
    const Heartbeats::Pace& pace = config_.heartbeat;
    router_.Send(ProcessId{node, 0}, NodeWelcome{node, milliseconds(pace.interval), milliseconds(pace.limit)});
    heartbeats_->Watch(node);
  });
  membership.OnGone([this](std::uint32_t node, const std::string& text) { OnNodeGone(node, text); });
  loop_.After(kJoinPatience, [&membership] { membership.GiveUpMissing("it has not joined the session"); });
  membership.OnChange([this] {
    AdmitDriver();
    StopIfAllEnded();
  });
  membership.AddSelf(config_.info);
}

void NodeEngine::BeMember(const Introduce& introduce) {
  router_.OnFromHead<NodeWelcome>([this](const NodeWelcome& welcome) { HandleWelcome(welcome); });
  router_.OnFromHead<NodePeers>([this](const NodePeers& peers) { HandlePeers(peers); });
  router_.OnFromHead<NodeLeave>([this](const NodeLeave& leave) { Abandon("the head says: " + leave.reason); });
  router_.OnFromHead<Shutdown>([this](const Shutdown& shutdown) { End(shutdown.reason, 0); });
  router_.On<Blocked>([this](ProcessId, const Blocked& blocked) { router_.Send(kHead, blocked); });
  router_.On<Unblocked>([this](ProcessId, const Unblocked& unblocked) { router_.Send(kHead, unblocked); });
  if (absl::Status status = fabric_.AddNode(kHead.node, introduce.head_fabric_address); !status.ok()) {
    return Abandon("the head cannot be reached: " + std::string(status.message()));
  }
  router_.Send(kHead, NodeJoin{config_.info, fabric_.Address()});
}

void NodeEngine::HandleWelcome(const NodeWelcome& welcome) {
  if (heartbeats_) return;
  BeginHeartbeats({std::chrono::milliseconds(welcome.heartbeat_interval_ms),
                   std::chrono::milliseconds(welcome.heartbeat_limit_ms)});
  heartbeats_->Watch(kHead.node);
  if (head_ != nullptr) ReportUp();  // only now can tasks run here
}

void NodeEngine::BeginHeartbeats(Heartbeats::Pace pace) {
  heartbeats_.emplace(&loop_, &router_, pace,
                      [this](std::uint32_t node, const std::string& reason) { OnNodeLost(node, reason); });
}

void NodeEngine::LetGuestsIn() {
  gate_->Open();
  AdmitDriver();
}

// The launcher's driver starts when all of the launcher's nodes are there, so that it sees the whole cluster.
void NodeEngine::AdmitDriver() {
  const bool complete = !services_->membership || services_->membership->Complete();
  if (config_.driver_fd < 0 || !complete) return;
  services_->drivers.Add(ControlSocket(UniqueFd(std::exchange(config_.driver_fd, -1))));
}

Welcome NodeEngine::AddForkserver(ControlSocket socket, double num_cpus) {
  services_->workers.AddForkserver(std::move(socket), num_cpus);
  Welcome welcome;
  welcome.build = BuildId();
  welcome.session = config_.session;
  welcome.node = config_.info.id;
  welcome.node_index = config_.info.index;
  return welcome;
}

absl::StatusOr<Introduce> NodeEngine::AdmitNode(const Hello& hello) {
  if (!services_->membership) return absl::FailedPreconditionError("nodes join at the head of the session");
  return services_->membership->Admit(hello.fabric_address);
}

void NodeEngine::HandlePeers(const NodePeers& peers) {
  for (const auto& [node, address] : peers.addresses) {
    if (node == router_.self().node) continue;
    if (absl::Status status = fabric_.AddNode(node, address); !status.ok()) {
      spdlog::error("cannot reach node {}: {}", node, std::string(status.message()));
    }
  }
  for (const std::uint32_t node : peers.gone) Forget(node, "the head has given it up");
}

// All must agree on who is lost, so the head decides. A node that it can reach and another one cannot is lost to both.
void NodeEngine::OnNodeLost(std::uint32_t node, const std::string& reason) {
  if (services_->membership) return services_->membership->Lost(node, reason);
  if (node == kHead.node) return Abandon("the head is lost, or has given up this node: " + reason);
  router_.Send(kHead, NodeLeave{node, fmt::format("node {} cannot reach it: {}", router_.self().node, reason)});
  Forget(node, reason);
}

// On the head: membership has decided.
void NodeEngine::OnNodeGone(std::uint32_t node, const std::string& text) {
  heartbeats_->Forget(node);
  services_->objects.OnNodeLost(node, text);
  gate_->TurnOut(node, text);
}

// On any other engine.
void NodeEngine::Forget(std::uint32_t node, const std::string& reason) {
  fabric_.RemoveNode(node);
  services_->objects.OnNodeLost(node, reason);
  services_->processes.EndNode(node, fmt::format("node {} is lost: {}", node, reason));
}

void NodeEngine::End(const std::string& reason, int code) {
  if (ending_) return;
  ending_ = true;
  exit_code_ = code;
  end_reason_ = reason;
  if (services_ == nullptr) return loop_.Stop();
  gate_->Shut("the session ends");
  if (services_->membership) {
    for (const std::uint32_t other : services_->membership->Others())
      router_.Send(ProcessId{other, 0}, Shutdown{reason}, true);
  }
  services_->drivers.TellAll(reason);
  services_->workers.EndAll(reason);
  loop_.After(services_->membership ? kHeadPatience : kMemberPatience, [this] { loop_.Stop(); });
  StopIfAllEnded();
}

void NodeEngine::StopIfAllEnded() {
  if (!ending_ || !services_->workers.AllEnded()) return;
  if (services_->membership && !services_->membership->Others().empty()) return;
  if (!services_->membership) router_.Send(kHead, NodeLeave{router_.self().node, end_reason_, true});
  loop_.Stop();
}

void NodeEngine::Abandon(const std::string& reason) {
  if (ending_) return;
  spdlog::error("node {}: {}", config_.info.name, reason);
  ending_ = true;
  exit_code_ = kAbandoned;
  if (services_ != nullptr && !services_->membership) router_.Send(kHead, NodeLeave{router_.self().node, reason});
  loop_.Stop();
}

bool NodeEngine::ToProcess(std::uint32_t serial, const FrameHeader& header, std::string_view payload) {
  return links_->Send(serial, header, payload);
}

bool NodeEngine::ToNode(std::uint32_t node, const FrameHeader& header, std::string_view payload) {
  return fabric_.Send(node, header, payload);
}

}  // namespace ray_engine
