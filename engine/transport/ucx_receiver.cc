#include "engine/transport/ucx_receiver.h"

#include <cstring>

#include "engine/wire/codec.h"

namespace ray_engine {
namespace {

template <class T>
bool ReadHeader(const void* header, std::size_t size, T* out) {
  if (size != sizeof *out) return false;
  std::memcpy(static_cast<void*>(out), header, size);
  return true;
}

bool Plausible(const BulkChunk& chunk, std::size_t size) {
  return chunk.size == size && size <= kMaxBulkChunk && chunk.offset <= chunk.total &&
         size <= chunk.total - chunk.offset;
}

std::string_view View(const void* data, std::size_t size) { return {static_cast<const char*>(data), size}; }

}  // namespace

absl::Status UcxReceiver::Start() {
  absl::Status status = worker_->Handle(kUcxHello, OnHello, this);
  if (status.ok()) status = worker_->Handle(kUcxBatch, OnBatch, this);
  if (status.ok()) status = worker_->Handle(kUcxChunk, OnChunk, this);
  return status;
}

ucs_status_t UcxReceiver::OnHello(void* arg, const void*, size_t, void* data, size_t size,
                                  const ucp_am_recv_param_t* param) {
  Target* target = static_cast<UcxReceiver*>(arg)->target_;
  PeerHello hello;
  const bool here = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0;
  if (here && Decode(View(data, size), &hello)) {
    target->TakeHello(hello);
  } else {
    target->DropMalformed();
  }
  return UCS_OK;
}

ucs_status_t UcxReceiver::OnBatch(void* arg, const void* header, size_t header_size, void* data, size_t size,
                                  const ucp_am_recv_param_t* param) {
  Target* target = static_cast<UcxReceiver*>(arg)->target_;
  Envelope sender;
  const bool here = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0;
  if (here && ReadHeader(header, header_size, &sender)) {
    target->TakeBatch(sender, View(data, size));
  } else {
    target->DropMalformed();
  }
  return UCS_OK;
}

ucs_status_t UcxReceiver::OnChunk(void* arg, const void* header, size_t header_size, void* data, size_t size,
                                  const ucp_am_recv_param_t* param) {
  auto* receiver = static_cast<UcxReceiver*>(arg);
  ChunkEnvelope envelope;
  if (!ReadHeader(header, header_size, &envelope) || !Plausible(envelope.chunk, size)) {
    receiver->target_->DropMalformed();
    return UCS_OK;
  }
  char* to = receiver->target_->PlaceChunk(envelope);
  if (to == nullptr) return UCS_OK;  // tells the sender of an announced chunk, too
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0) {
    receiver->Fetch(envelope, to, data);
    return UCS_INPROGRESS;
  }
  std::memcpy(to, data, size);
  receiver->target_->ChunkReceived(envelope, absl::OkStatus());
  return UCS_OK;
}

// Receives a chunk that was only announced.
void UcxReceiver::Fetch(const ChunkEnvelope& envelope, char* to, void* descriptor) {
  Arriving& item = arriving_.emplace_front();
  item.receiver = this;
  item.envelope = envelope;
  item.self = arriving_.begin();
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.recv_am = OnArrived;
  param.user_data = &item;
  const ucs_status_ptr_t request = ucp_am_recv_data_nbx(worker_->get(), descriptor, to, envelope.chunk.size, &param);
  if (!UCS_PTR_IS_PTR(request)) OnArrived(nullptr, UCS_PTR_STATUS(request), 0, &item);
}

void UcxReceiver::OnArrived(void* request, ucs_status_t status, size_t, void* arg) {
  if (request != nullptr) ucp_request_free(request);
  auto* item = static_cast<Arriving*>(arg);
  UcxReceiver* receiver = item->receiver;
  const ChunkEnvelope envelope = item->envelope;
  receiver->arriving_.erase(item->self);
  receiver->target_->ChunkReceived(envelope, UcxStatus(status, "cannot receive"));
}

}  // namespace ray_engine
