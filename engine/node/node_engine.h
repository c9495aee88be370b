// NodeEngine: the program around a Node: its segments, sockets, forkservers and drivers, its start and its end.
//
// Life: Start() makes the segments and addresses and reports them (EngineUp); the answer (Introduce) tells which node
// this is; then the services are built and guests are let in. It ends when the head says Shutdown (the head itself:
// when the supervisor says that the driver has ended), when its supervisor is gone, or when the head is lost.
//
// Owns everything of this engine. Loop-bound.

#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/node/control_channel.h"
#include "engine/node/drivers.h"
#include "engine/node/event_loop.h"
#include "engine/node/fabric_link.h"
#include "engine/node/forkservers.h"
#include "engine/node/gate.h"
#include "engine/node/node.h"
#include "engine/node/node_config.h"
#include "engine/node/node_state.h"
#include "engine/node/output_service.h"
#include "engine/node/process_links.h"
#include "engine/node/router.h"
#include "engine/node/session_state.h"
#include "engine/node/welcomes.h"
#include "objectstore/segment.h"

namespace ray_engine {

class NodeEngine : public FrameWays {
 public:
  // Exit codes of the engine beside the 0 of an orderly end.
  static constexpr int kAbandoned = 71;  // the supervisor or the head is gone, or the head has given this node up

  // Makes the disk that the store in this segment spills to.
  using DiskFactory = std::function<absl::StatusOr<std::unique_ptr<SpillDisk>>(const Segment&)>;

  NodeEngine(NodeConfig config, FabricLink::Factory factory, DiskFactory disk_factory);
  ~NodeEngine() override;

  absl::Status Start();
  // Runs until the end; returns the exit code.
  int Run();

  bool ToProcess(std::uint32_t serial, const FrameHeader& header, std::string_view payload) override;
  bool ToNode(std::uint32_t node, const FrameHeader& header, std::string_view payload) override;

 private:
  // Everything that exists only once the engine knows who it is.
  struct Services;

  absl::Status OpenControl();
  absl::Status JoinHead();
  void HandleControl(ControlPacket& packet);
  void HandleHead(ControlPacket& packet);
  void ReportUp();

  void OnIntroduced(const Introduce& introduce);
  Node::Host HostOfNode();
  void LetGuestsIn();
  void AdmitDriver();
  Welcome AddForkserver(ControlSocket socket, double num_cpus);
  absl::StatusOr<Introduce> AdmitNode(const Hello& hello);

  // The orderly end: tells everyone, waits for them kPatience at most.
  void End(const std::string& reason, int code);
  void StopIfAllEnded();
  // The end without waiting.
  void Abandon(const std::string& reason);

  NodeConfig config_;
  EventLoop loop_;
  Router router_{this};
  FabricLink fabric_;
  std::unique_ptr<ProcessLinks> links_;
  std::optional<Segment> store_segment_;
  DiskFactory disk_factory_;
  std::unique_ptr<SpillDisk> disk_;  // until the store service takes it
  std::optional<Gate> gate_;
  std::unique_ptr<ControlChannel> control_, head_;  // head_: of a node that has joined by socket
  std::unique_ptr<Services> services_;
  bool ending_ = false;
  int exit_code_ = 0;
  std::string end_reason_;
};

}  // namespace ray_engine
