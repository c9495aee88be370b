#include "engine/core/stream.h"

#include <algorithm>
#include <utility>

namespace ray_engine {
namespace {

constexpr std::uint32_t kAll = 0xffffffff;

}  // namespace

Stream::Stream(Ownership* ownership, Sender* sender, const TaskId& task, std::uint32_t limit, Kind kind)
    : ownership_(ownership), sender_(sender), task_(task), limit_(limit), kind_(kind) {
  if (kind == kReads) Item(0);
}

ObjectEntry* Stream::Refuse(std::uint32_t index, const WireValue& value) {
  ownership_->Refuse(value);
  if (value.kind == WireValue::kStored)
    sender_->Send(ProcessId{value.node, 0}, StoreFree{{ReturnObjectId(task_, index + 2)}});
  return nullptr;
}

// The entry of that item, which may be the first to ask for it.
ObjectEntry* Stream::Item(std::uint32_t index) {
  while (read_ + items_.size() <= index) {
    const auto next = static_cast<std::uint32_t>(read_ + items_.size());
    items_.push_back(ownership_->NewOwned(ReturnObjectId(task_, next + 2)));
  }
  return items_[index - read_];
}

// They come in order, but some may be there from another attempt.
ObjectEntry* Stream::Collect(std::uint32_t index, ObjectEntry* known) {
  if (index == items_.size()) {
    if (known != nullptr) ownership_->Hold(known);
    items_.push_back(known != nullptr ? known : ownership_->NewOwned(ReturnObjectId(task_, index + 2)));
  }
  return index < items_.size() ? items_[index] : nullptr;
}

// The entry that an item is for; null: nobody wants it.
ObjectEntry* Stream::Find(std::uint32_t index, ObjectEntry* known) {
  if (!closed_ && collects()) return Collect(index, known);
  if (!closed_ && index >= read_ && index < produced_) return Item(index);
  return known != nullptr && !known->rare->faded ? known : nullptr;
}

ObjectEntry* Stream::OnItem(ProcessId worker, std::uint32_t index, WireValue value, ObjectEntry* known) {
  const bool is_new = index >= produced_ && !end_.has_value();
  passed_ = index + 1;
  if (is_new) produced_ = passed_;
  if (std::exchange(worker_, worker) != worker && (read_ > 0 || closed_ || end_.has_value())) TellConsumed();
  ObjectEntry* item = Find(index, known);
  if (item == nullptr) return Refuse(index, value);
  ownership_->SetValue(item, std::move(value));
  return item;
}

void Stream::EndSoon(bool by_cancelling) {
  if (worker_.IsNil()) return;
  by_cancelling ? sender_->Send(worker_, CancelTask{task_, false, false})
                : sender_->Send(worker_, StreamConsumed{task_, kAll});
}

void Stream::End(const WireValue* error) {
  worker_ = ProcessId();
  if (end_.has_value()) return;
  end_ = error == nullptr ? produced_ : produced_ + 1;
  if (closed_) return;
  if (error != nullptr) ownership_->SetValue(Item(produced_), *error);
  ownership_->SetValue(Item(*end_), WireValue{});
}

void Stream::Trim() {
  while (items_.size() > passed_) {
    ownership_->Drop(items_.back());
    items_.pop_back();
  }
}

void Stream::CollectError(const WireValue& error, ObjectEntry* known) {
  if (closed_) return;
  ownership_->SetValue(Collect(passed_++, known), error);
}

std::vector<ObjectEntry*> Stream::TakeAll() {
  const std::vector<ObjectEntry*> all(items_.begin(), items_.end());
  items_.clear();
  Close();
  return all;
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
  if (limit_ == 0 || worker_.IsNil()) return;
  sender_->Send(worker_, StreamConsumed{task_, closed_ || end_.has_value() ? kAll : read_});
}

}  // namespace ray_engine
