// UcxSender: active messages on their way out.
//
// UCX reads from a message until it reports completion; the sender keeps what must live so long. `done` of a message is
// called exactly once.
//
// Internal to the fabric over UCX. Loop-bound.

#pragma once

#include <cstddef>
#include <list>
#include <string>

#include "engine/transport/fabric_wire.h"
#include "engine/transport/ucx_worker.h"

namespace ray_engine {

class UcxSender {
 public:
  struct Message {
    UcxMessage kind = kUcxHello;
    ChunkEnvelope envelope;       // of a batch: only the Envelope in it
    std::string bytes;            // hello, batch: the content
    const char* chunk = nullptr;  // chunk: the content
    Fabric::Done done;            // may be empty
  };

  void Post(ucp_ep_h endpoint, Message message);
  // REQUIRES: the worker has been stopped.
  void CancelAll();

 private:
  struct Posted {
    UcxSender* sender = nullptr;
    Message message;
    std::list<Posted>::iterator self;
  };
  static void OnSent(void* request, ucs_status_t status, void* arg);

  std::list<Posted> posted_;
};

}  // namespace ray_engine
