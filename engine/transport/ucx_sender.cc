#include "engine/transport/ucx_sender.h"

#include <utility>

namespace ray_engine {
namespace {

std::size_t HeaderSize(UcxMessage kind) {
  if (kind == kUcxHello) return 0;
  return kind == kUcxBatch ? sizeof(Envelope) : sizeof(ChunkEnvelope);
}

}  // namespace

void UcxSender::Post(ucp_ep_h endpoint, Message posted) {
  Posted& item = posted_.emplace_front();
  item.sender = this;
  item.message = std::move(posted);
  item.self = posted_.begin();
  const Message& message = item.message;
  const bool is_chunk = message.kind == kUcxChunk;
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  param.cb.send = OnSent;
  param.user_data = &item;
  param.flags = is_chunk ? 0 : UCP_AM_SEND_FLAG_EAGER;  // an announced message could be overtaken
  const void* content = is_chunk ? message.chunk : message.bytes.data();
  const std::size_t size = is_chunk ? message.envelope.chunk.size : message.bytes.size();
  const ucs_status_ptr_t request =
      ucp_am_send_nbx(endpoint, message.kind, &message.envelope, HeaderSize(message.kind), content, size, &param);
  if (!UCS_PTR_IS_PTR(request)) OnSent(nullptr, UCS_PTR_STATUS(request), &item);
}

void UcxSender::OnSent(void* request, ucs_status_t status, void* arg) {
  if (request != nullptr) ucp_request_free(request);
  auto* item = static_cast<Posted*>(arg);
  const Fabric::Done done = std::move(item->message.done);
  item->sender->posted_.erase(item->self);
  if (done) done(UcxStatus(status, "cannot send"));
}

void UcxSender::CancelAll() {
  for (const Posted& item : std::exchange(posted_, {})) {
    if (item.message.done) item.message.done(absl::CancelledError("the fabric was closed"));
  }
}

}  // namespace ray_engine
