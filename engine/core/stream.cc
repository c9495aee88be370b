#include "engine/core/stream.h"

#include <algorithm>
#include <utility>

namespace ray_engine {
namespace {

constexpr std::uint32_t kAll = 0xffffffff;

}  // namespace

Stream::Stream(Ownership* ownership, Sender* sender, const TaskId& task, std::uint32_t limit)
    : ownership_(ownership), sender_(sender), task_(task), limit_(limit) {
  Item(0);
}

void Stream::Refuse(std::uint32_t index, const WireValue& value) {
  ownership_->Refuse(value);
  // A repeated item may have taken the place of the first one in that store, so only what nobody has read goes.
  if (!closed_ || value.kind != WireValue::kStored) return;
  sender_->Send(ProcessId{value.node, 0}, StoreFree{{ReturnObjectId(task_, index + 2)}});
}

// The entry of that item, which may be the first to ask for it.
ObjectEntry* Stream::Item(std::uint32_t index) {
  while (read_ + items_.size() <= index) {
    const auto next = static_cast<std::uint32_t>(read_ + items_.size());
    items_.push_back(ownership_->NewOwned(ReturnObjectId(task_, next + 2)));
  }
  return items_[index - read_];
}

void Stream::OnItem(ProcessId worker, std::uint32_t index, WireValue value) {
  const bool known = index < produced_ || end_.has_value();
  produced_ = std::max(produced_, index + 1);
  if (std::exchange(worker_, worker) != worker && (read_ > 0 || closed_)) TellConsumed();
  if (closed_ || known) return Refuse(index, value);
  ownership_->SetValue(Item(index), std::move(value));
}

void Stream::End(const WireValue* error) {
  if (end_.has_value()) return;
  end_ = error == nullptr ? produced_ : produced_ + 1;
  if (closed_) return;
  if (error != nullptr) ownership_->SetValue(Item(produced_), *error);
  ownership_->SetValue(Item(*end_), WireValue{});
}

ObjectEntry* Stream::Take() {
  ObjectEntry* taken = items_.front();
  items_.pop_front();
  ++read_;
  Item(read_);
  TellConsumed();
  return taken;
}

void Stream::Close() {
  closed_ = true;
  TellConsumed();
  for (ObjectEntry* entry : std::exchange(items_, {})) ownership_->Drop(entry);
}

void Stream::TellConsumed() {
  if (limit_ == 0 || worker_.IsNil() || end_.has_value()) return;
  sender_->Send(worker_, StreamConsumed{task_, closed_ ? kAll : read_});
}

}  // namespace ray_engine
