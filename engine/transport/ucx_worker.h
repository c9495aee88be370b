// UcxWorker: the UCX library started for one fabric: context, worker, address, event descriptor.
//
// Internal to the fabric over UCX. Loop-bound.

#pragma once

#include <absl/status/status.h>
#include <ucp/api/ucp.h>

#include <string>
#include <vector>

#include "engine/transport/ucx_fabric.h"

namespace ray_engine {

// Kinds of active messages: what they carry, and their header.
enum UcxMessage : unsigned {
  kUcxHello = 0,  // PeerHello, no header
  kUcxBatch = 1,  // frames, Envelope
  kUcxChunk = 2,  // bytes of an object, ChunkEnvelope
};

absl::Status UcxStatus(ucs_status_t status, const std::string& what);

class UcxWorker {
 public:
  UcxWorker() = default;
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;
  ~UcxWorker() { Stop(); }

  absl::Status Start(const UcxFabricOptions& options);
  // Ends everything that is under way, with its callbacks.
  void Stop();

  // Messages arrive whole, or, if they are large, as an announcement with the data still to be received.
  absl::Status Handle(UcxMessage kind, ucp_am_recv_callback_t callback, void* arg);

  bool Progress() { return ucp_worker_progress(worker_) != 0; }
  // False if there is something to progress first.
  bool Arm() { return ucp_worker_arm(worker_) == UCS_OK; }

  // What UCX may use, as it names them ("tcp/eth0"); the ways inside one process or one machine are left out.
  std::vector<std::string> Networks() const;

  bool started() const { return worker_ != nullptr; }
  ucp_worker_h get() const { return worker_; }
  const std::string& address() const { return address_; }
  int event_fd() const { return event_fd_; }

 private:
  absl::Status StartContext(const UcxFabricOptions& options);
  absl::Status StartWorker();
  absl::Status ReadAddress();

  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int event_fd_ = -1;
  std::string address_;
};

}  // namespace ray_engine
