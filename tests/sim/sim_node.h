// SimNode: one node of the simulation: the real engine (engine/node/node.h), and on the head the real scheduler, actor
// directory and membership, on a time, a network and a forkserver that are simulated.
//
// Chunks of objects travel without their bytes: all nodes share one store segment, which nobody looks into.
//
// Thread-compatible.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "engine/node/node.h"
#include "objectstore/segment.h"
#include "tests/sim/sim_network.h"

namespace ray_engine::sim {

class SimWorld;

// The memory that the stores of all nodes and their processes name.
const Segment& SharedStore();

class SimLoop : public Loop {
 public:
  explicit SimLoop(SimWorld* world) : world_(world) {}
  Time Now() const override;
  void After(Time delay, std::function<void()> task) override { timers_.emplace(Now() + delay, std::move(task)); }
  void Watch(int, Handler) override {}
  void Unwatch(int) override {}

  // When the next timer is due; never if there is none.
  Time NextDue() const { return timers_.empty() ? Time::max() : timers_.begin()->first; }
  void RunDue();
  void Clear() { timers_.clear(); }

 private:
  SimWorld* world_;
  std::multimap<Time, std::function<void()>> timers_;
};

class SimNode : public FrameWays, public NodeLinks, public WorkerStarter {
 public:
  SimNode(SimWorld* world, std::uint32_t index, std::uint32_t cpus);
  ~SimNode() override;
  void Begin();

  std::uint32_t index() const { return index_; }
  ProcessId id() const { return {index_, 0}; }
  Node& node() { return node_; }
  SimLoop& loop() { return loop_; }

  // A frame has arrived from a process of this node, or in the fabric from another one.
  void OnFrame(ProcessId hop, const Frame& frame);
  // What the engine has said to itself.
  void Poll() {
    while (router_.Poll()) {
    }
  }
  // A new process that is no worker.
  ProcessId AdmitDriver();
  void OnExited(ProcessId process, int status);
  void OnDriverGone(ProcessId driver);
  // The connection to another node has broken, or seems to have. No effect where that node is fenced.
  void OnPeerLost(std::uint32_t node, const std::string& reason);
  // A chunk of an object has arrived.
  void TakeChunk(std::uint32_t from, const BulkChunk& chunk);

  bool ToProcess(std::uint32_t serial, const FrameHeader& header, std::string_view payload) override;
  bool ToNode(std::uint32_t node, const FrameHeader& header, std::string_view payload) override;

  std::uint64_t Open(ProcessId process) override;
  void Close(std::uint32_t serial) override;
  std::uint64_t Allocate(std::uint32_t serial0, std::uint32_t serial1) override;
  void Free(std::uint64_t) override {}
  void Forget(std::uint32_t) override {}

  absl::Status Start(const Process& process, const WorkerPool::Fork& fork, const JobInfo& job) override;
  void Kill(const Process& process) override;

 private:
  class SimFabric;
  Node::Host HostOfNode();
  NodeInfo InfoOf(std::uint32_t cpus) const;

  SimWorld* world_;
  const std::uint32_t index_;
  SimLoop loop_;
  Router router_{this};
  std::set<std::uint32_t> shut_out_;  // nodes that are fenced or lost
  FabricLink fabric_;
  std::set<std::uint32_t> links_;  // processes that have one
  Node node_;
};

}  // namespace ray_engine::sim
