#include "tests/sim/sim_node.h"

#include <csignal>

#include "tests/sim/sim_world.h"
#include "tests/support/task_builder.h"

namespace ray_engine::sim {
namespace {

constexpr std::uint64_t kStoreBytes = 256 << 20;

}  // namespace

// ---- time ----------------------------------------------------------------------------------------------------------

Loop::Time SimLoop::Now() const { return world_->now(); }

void SimLoop::RunDue() {
  const Time now = Now();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    const std::function<void()> task = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    task();
  }
}

// ---- fabric --------------------------------------------------------------------------------------------------------

// Lets everything through that comes from a fenced node: what the engine itself makes of it is what is tested.
class SimNode::SimFabric : public Fabric {
 public:
  explicit SimFabric(SimNode* node) : node_(node), world_(node->world_) {}

  std::string Address() const override { return "node " + std::to_string(node_->index_); }
  void Introduce(std::uint32_t, const std::string&) override {}
  absl::Status Connect(std::uint32_t, const std::string&) override { return absl::OkStatus(); }
  void Disconnect(std::uint32_t) override {}

  void Fence(std::uint32_t node) override {
    if (!node_->shut_out_.insert(node).second || world_->FindNode(node) == nullptr) return;
    Post(node, Queue::kFrames, [world = world_, node, self = node_->index_] {
      world->FindNode(node)->OnPeerLost(self, "connection closed");
    });
  }

  void Send(std::uint32_t node, const FrameHeader& header, std::string_view payload) override {
    if (world_->FindNode(node) == nullptr) return;
    Frame frame{header.from, header.to, header.type, std::string(payload)};
    world_->network().Send({node_->id(), {node, 0}, Queue::kFrames}, {std::move(frame), {}, {}});
  }

  // What lies between the arrival of a chunk and its end, the receiver's memory must bear.
  void SendBulk(std::uint32_t node, const BulkChunk& chunk, const char*, Done done) override {
    const auto end = [world = world_, self = node_->index_, done](const absl::Status& status) {
      if (world->FindNode(self) == nullptr) return;
      world->network().Send({{self, 0}, {self, 0}, Queue::kChunks}, {{}, [done, status] { done(status); }, {}});
    };
    const auto arrive = [world = world_, self = node_->index_, node, chunk, end] {
      world->FindNode(node)->TakeChunk(self, chunk);
      end(absl::OkStatus());
    };
    const auto lose = [end] { end(absl::UnavailableError("the node is lost")); };
    if (world_->FindNode(node) == nullptr) return lose();
    world_->network().Send({node_->id(), {node, 0}, Queue::kChunks}, {{}, arrive, lose});
  }
  bool Progress() override { return false; }
  int EventFd() const override { return -1; }
  bool Arm() override { return true; }
  FabricStats Stats() const override { return {}; }

 private:
  void Post(std::uint32_t node, Queue::Lane lane, std::function<void()> event) {
    world_->network().Send({node_->id(), {node, 0}, lane}, {{}, std::move(event), {}});
  }

  SimNode* node_;
  SimWorld* world_;
};

void SimNode::TakeChunk(std::uint32_t from, const BulkChunk& chunk) {
  if (fabric_.OnBulk(from, chunk) == nullptr) return;
  const auto end = [this, from, chunk] {
    const bool cut = world_->FindNode(from) == nullptr;
    fabric_.OnBulkDone(from, chunk, cut ? absl::UnavailableError("it has broken off") : absl::OkStatus());
  };
  world_->network().Send({id(), id(), Queue::kChunks}, {{}, end, {}});
}

void SimNode::OnPeerLost(std::uint32_t node, const std::string& reason) {
  if (shut_out_.insert(node).second) fabric_.OnPeerLost(node, reason);
}

// ---- the node ------------------------------------------------------------------------------------------------------

SimNode::SimNode(SimWorld* world, std::uint32_t index, std::uint32_t cpus)
    : world_(world),
      index_(index),
      loop_(world),
      fabric_(&loop_,
              [this](FabricHandler*) -> absl::StatusOr<std::unique_ptr<Fabric>> {
                return std::make_unique<SimFabric>(this);
              }),
      node_((router_.SetSelf(id()), Node::Ground{&loop_, &router_, &fabric_, this, this, &SharedStore(), nullptr}),
            HostOfNode(), InfoOf(cpus)) {
  (void)fabric_.Open();
}

SimNode::~SimNode() = default;

const Segment& SharedStore() {
  static const absl::StatusOr<Segment> segment = Segment::Create(kStoreBytes);
  return *segment;
}

NodeInfo SimNode::InfoOf(std::uint32_t cpus) const {
  NodeInfo info;
  info.index = index_;
  info.id = NumberedId<NodeId>(index_ + 1);
  info.name = "node " + std::to_string(index_);
  info.total.Set("CPU", cpus * ResourceSet::kUnit);
  info.available = info.total;
  info.store_bytes = kStoreBytes;
  return info;
}

Node::Host SimNode::HostOfNode() {
  Node::Host host;
  host.abandon = [this](const std::string& reason) {
    world_->network().Send({id(), id(), Queue::kForkserver},
                           {{}, [this, reason] { world_->EndNode(index_, reason); }, {}});
  };
  host.on_welcome = [] {};
  host.on_change = [] {};
  host.on_node_gone = [this](std::uint32_t node, const std::string&) { world_->NoteFenced(node); };
  return host;
}

void SimNode::Begin() {
  Introduce introduce;
  introduce.index = index_;
  introduce.node_count = static_cast<std::uint32_t>(world_->options().nodes);
  introduce.head_fabric_address = "node 0";
  introduce.secret = "secret";
  node_.Begin(introduce, world_->pace());
  node_.workers().OnForkserverUp(1, static_cast<double>(world_->options().cpus));
  Poll();
}

void SimNode::OnFrame(ProcessId hop, const Frame& frame) {
  FrameHeader header;
  header.size = static_cast<std::uint32_t>(frame.payload.size());
  header.type = frame.type;
  header.from = frame.from;
  header.to = frame.to;
  hop.IsEngine() && hop != id() ? fabric_.OnFrame(hop.node, header, frame.payload)
                                : router_.OnFrame(header, frame.payload);
}

bool SimNode::ToProcess(std::uint32_t serial, const FrameHeader& header, std::string_view payload) {
  if (links_.count(serial) == 0) return false;
  Frame frame{header.from, header.to, header.type, std::string(payload)};
  world_->NoteOrder(frame);
  world_->network().Send({id(), {index_, serial}, Queue::kFrames}, {std::move(frame), {}, {}});
  return true;
}

bool SimNode::ToNode(std::uint32_t node, const FrameHeader& header, std::string_view payload) {
  if (header.from == kHead) world_->NoteOrder({header.from, header.to, header.type, std::string(payload)});
  return fabric_.Send(node, header, payload);
}

// ---- processes -----------------------------------------------------------------------------------------------------

std::uint64_t SimNode::Open(ProcessId process) {
  if (!world_->HasRoom()) return 0;
  links_.insert(process.serial);
  return 1;
}

void SimNode::Close(std::uint32_t serial) {
  for (const SimNetwork::Item& item : world_->network().TakeAll({{index_, serial}, id(), Queue::kFrames})) {
    OnFrame({index_, serial}, item.frame);
  }
  links_.erase(serial);
}

// Now and then there is no room, and the engine passes on what the two say to each other.
std::uint64_t SimNode::Allocate(std::uint32_t, std::uint32_t) { return world_->random().Chance(10) ? 0 : 1; }

ProcessId SimNode::AdmitDriver() { return {index_, node_.processes().Admit(Process::kDriver)->serial}; }

absl::Status SimNode::Start(const Process& process, const WorkerPool::Fork& fork, const JobInfo&) {
  const ProcessId worker{index_, process.serial};
  world_->NewWorker(worker, fork.key.job);
  return absl::OkStatus();
}

void SimNode::Kill(const Process& process) {
  const ProcessId victim{index_, process.serial};
  world_->MarkDead(victim);
  world_->network().Send({id(), id(), Queue::kForkserver}, {{}, [this, victim] { world_->End(victim, SIGKILL); }, {}});
}

void SimNode::OnExited(ProcessId process, int status) { node_.workers().OnExited(process.serial, status); }

void SimNode::OnDriverGone(ProcessId driver) { node_.processes().End(driver.serial, "the driver has died"); }

}  // namespace ray_engine::sim
