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

void RaiseFdLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

struct NodeEngine::Services {
  explicit Services(NodeEngine* engine)
      : welcomes(engine->links_.get(), &*engine->store_segment_, &engine->config_),
        forkservers(&engine->loop_, &engine->router_, &welcomes, &engine->config_),
        node({&engine->loop_, &engine->router_, &engine->fabric_, engine->links_.get(), &forkservers,
              &*engine->store_segment_, std::move(engine->disk_)},
             engine->HostOfNode(), engine->config_.info),
        output(&engine->router_, &node.processes(), &engine->config_),
        drivers(&engine->loop_, &engine->router_, &node.processes(), &welcomes),
        state(&engine->router_, &node.processes(), &node.objects(), &engine->fabric_, engine->links_.get(),
              &engine->config_) {
    forkservers.Connect(&node.workers(), &node.processes());
    forkservers.OnOutput([this](const Output& text) { output.OnOutput(text); });
    engine->router_.On<FlushNode>([this, router = &engine->router_](ProcessId, const FlushNode& flush) {
      forkservers.FlushOutput([router, flush] { router->Send(kHead, NodeFlushed{flush.round}); });
    });
  }
  bool IsHead() { return node.head() != nullptr; }

  Welcomes welcomes;
  Forkservers forkservers;
  Node node;
  OutputService output;
  Drivers drivers;
  NodeState state;
  std::optional<SessionState> session_state;  // the head's
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
                           [this](std::uint32_t node) { services_->node.OnNodeLost(node, "it has ended"); }});
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
    End(services_ == nullptr || services_->IsHead() ? "the driver has ended" : "the node was removed", 0);
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
  services_ = std::make_unique<Services>(this);
  Services& all = *services_;
  links_->SetOnDamage([&all](ProcessId process) {
    spdlog::error("{} has written over the memory by which it sends messages", all.node.processes().NameOf(process));
    all.node.workers().KillProcess(process.serial, "it had written over the memory by which it sends messages");
  });
  all.node.processes().OnEnded([this](const Process&, const std::string&) { StopIfAllEnded(); });
  if (router_.self() != kHead) {
    router_.OnFromHead<Shutdown>([this](const Shutdown& shutdown) { End(shutdown.reason, 0); });
  }
  all.node.Begin(introduce, config_.heartbeat);
  if (HeadService* head = all.node.head()) {
    SessionState& state = all.session_state.emplace(&router_, head);
    head->OnLost([&state](std::uint32_t node) { state.OnNodeLost(node); });
  }
  if (config_.forkserver_fd >= 0)
    all.forkservers.Add(ControlSocket(UniqueFd(config_.forkserver_fd)), config_.forkserver_cpus);
  LetGuestsIn();
}

Node::Host NodeEngine::HostOfNode() {
  Node::Host host;
  host.abandon = [this](const std::string& reason) { Abandon(reason); };
  host.on_welcome = [this] {
    if (head_ != nullptr) ReportUp();  // only now can tasks run here
  };
  host.on_change = [this] {
    AdmitDriver();
    StopIfAllEnded();
  };
  host.on_node_gone = [this](std::uint32_t node, const std::string& text) { gate_->TurnOut(node, text); };
  return host;
}

void NodeEngine::LetGuestsIn() {
  gate_->Open();
  AdmitDriver();
}

// The launcher's driver starts when all of the launcher's nodes are there, so that it sees the whole cluster.
void NodeEngine::AdmitDriver() {
  const Membership* membership = services_->node.membership();
  const bool complete = membership == nullptr || membership->Complete();
  if (config_.driver_fd < 0 || !complete) return;
  services_->drivers.Add(ControlSocket(UniqueFd(std::exchange(config_.driver_fd, -1))));
}

Welcome NodeEngine::AddForkserver(ControlSocket socket, double num_cpus) {
  services_->forkservers.Add(std::move(socket), num_cpus);
  Welcome welcome;
  welcome.build = BuildId();
  welcome.session = config_.session;
  welcome.node = config_.info.id;
  welcome.node_index = config_.info.index;
  return welcome;
}

absl::StatusOr<Introduce> NodeEngine::AdmitNode(const Hello& hello) {
  Membership* membership = services_->node.membership();
  if (membership == nullptr) return absl::FailedPreconditionError("nodes join at the head of the session");
  return membership->Admit(hello.fabric_address);
}

void NodeEngine::End(const std::string& reason, int code) {
  if (ending_) return;
  ending_ = true;
  exit_code_ = code;
  end_reason_ = reason;
  if (services_ == nullptr) return loop_.Stop();
  gate_->Shut("the session ends");
  if (const Membership* membership = services_->node.membership()) {
    for (const std::uint32_t other : membership->Others()) router_.Send(ProcessId{other, 0}, Shutdown{reason}, true);
  }
  services_->drivers.TellAll(reason);
  services_->forkservers.EndAll(reason);
  loop_.After(services_->IsHead() ? kHeadPatience : kMemberPatience, [this] { loop_.Stop(); });
  StopIfAllEnded();
}

void NodeEngine::StopIfAllEnded() {
  if (!ending_ || !services_->forkservers.AllEnded()) return;
  if (services_->IsHead() && !services_->node.membership()->Others().empty()) return;
  if (!services_->IsHead()) router_.Send(kHead, NodeLeave{router_.self().node, end_reason_, true});
  loop_.Stop();
}

void NodeEngine::Abandon(const std::string& reason) {
  if (ending_) return;
  spdlog::error("node {}: {}", config_.info.name, reason);
  ending_ = true;
  exit_code_ = kAbandoned;
  if (services_ != nullptr && !services_->IsHead()) router_.Send(kHead, NodeLeave{router_.self().node, reason});
  loop_.Stop();
}

bool NodeEngine::ToProcess(std::uint32_t serial, const FrameHeader& header, std::string_view payload) {
  return links_->Send(serial, header, payload);
}

bool NodeEngine::ToNode(std::uint32_t node, const FrameHeader& header, std::string_view payload) {
  return fabric_.Send(node, header, payload);
}

}  // namespace ray_engine
