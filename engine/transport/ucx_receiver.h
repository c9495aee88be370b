// UcxReceiver: active messages on their way in. Takes them apart and hands the parts to its target.
//
// Internal to the fabric over UCX. Loop-bound.

#pragma once

#include <cstdint>
#include <list>
#include <string_view>

#include "engine/transport/fabric_wire.h"
#include "engine/transport/ucx_worker.h"

namespace ray_engine {

class UcxReceiver {
 public:
  // Called from inside UCX's callbacks, so it must not call UCX.
  class Target {
   public:
    virtual ~Target() = default;
    virtual void TakeHello(const PeerHello& hello) = 0;
    virtual void TakeBatch(const Envelope& sender, std::string_view batch) = 0;
    // Where to, or nullptr to drop the chunk.
    virtual char* PlaceChunk(const ChunkEnvelope& envelope) = 0;
    virtual void ChunkReceived(const ChunkEnvelope& envelope, const absl::Status& status) = 0;
    virtual void DropMalformed() = 0;
  };

  UcxReceiver(UcxWorker* worker, Target* target) : worker_(worker), target_(target) {}
  absl::Status Start();

 private:
  struct Arriving {  // a chunk on its way into the memory it was given
    UcxReceiver* receiver = nullptr;
    ChunkEnvelope envelope;
    std::list<Arriving>::iterator self;
  };

  static ucs_status_t OnHello(void* arg, const void*, size_t, void* data, size_t size, const ucp_am_recv_param_t*);
  static ucs_status_t OnBatch(void* arg, const void* header, size_t header_size, void* data, size_t size,
                              const ucp_am_recv_param_t*);
  static ucs_status_t OnChunk(void* arg, const void* header, size_t header_size, void* data, size_t size,
                              const ucp_am_recv_param_t* param);
  static void OnArrived(void* request, ucs_status_t status, size_t, void* arg);
  void Fetch(const ChunkEnvelope& envelope, char* to, void* descriptor);

  UcxWorker* worker_;
  Target* target_;
  std::list<Arriving> arriving_;
};

}  // namespace ray_engine
