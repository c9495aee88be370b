#include "engine/core/ownership.h"

#include <algorithm>
#include <utility>

namespace ray_engine {
namespace {

constexpr std::size_t kRemovalBatch = 64;

}  // namespace

// ---- local ---------------------------------------------------------------------------------------------------------

ObjectEntry* Ownership::Create(const ObjectId& id, ProcessId owner) {
  ObjectEntry* entry = entries_.New();
  entry->id = id;
  entry->owner = owner;
  entry->holds = 1;
  ++count_;
  return entry;
}

ObjectEntry* Ownership::NewOwned(const ObjectId& id) { return Create(id, sender_->self()); }

ObjectEntry* Ownership::Find(const ObjectId& id) const {
  const auto it = table_.find(id);
  return it == table_.end() ? nullptr : it->second;
}

void Ownership::Drop(ObjectEntry* entry) {
  if (--entry->holds != 0 || std::exchange(entry->to_release, true)) return;
  to_release_.push_back(entry);
  if (releasing_) return;
  releasing_ = true;
  while (!to_release_.empty()) {
    ObjectEntry* next = to_release_.back();
    to_release_.pop_back();
    next->to_release = false;
    if (next->holds == 0) Release(next);
  }
  releasing_ = false;
}

void Ownership::Release(ObjectEntry* entry) {
  entry->owner == sender_->self() ? ReleaseOwned(entry) : ReleaseBorrowed(entry);
}

void Ownership::ReleaseOwned(ObjectEntry* entry) {
  if (entry->rare != nullptr && !entry->rare->borrowers.empty()) return;
  if (!entry->freed) FreeCopies(entry);
  if (entry->rare != nullptr && entry->rare->lineage_holds > 0) return Fade(entry);
  if (entry->is_error && !entry->seen && entry->kind == WireValue::kInline) listener_->OnErrorUnseen(*entry);
  if (entry->origin == ObjectEntry::kTask) listener_->OnLineageUnneeded(*entry);
  DropContained(entry);
  listener_->OnObjectFreed(entry->id);
  Delete(entry);
}

// What was read from a borrowed object loses its custodian: it is registered first, and what is said to the custodian
// after that waits for the acknowledgements.
void Ownership::ReleaseContained(ObjectEntry* entry) {
  for (ObjectEntry* child : entry->contained) {
    if (child->holds > 1) Register(child);
  }
  DropContained(entry);
}

void Ownership::ReleaseBorrowed(ObjectEntry* entry) {
  ReleaseContained(entry);
  const std::uint32_t grants = entry->rare == nullptr ? 0 : entry->rare->grants;
  if (grants > 0 && !gone_.contains(entry->owner)) {
    BorrowRemove& removal = removals_[entry->owner];
    removal.objects.push_back(entry->id);
    removal.counts.push_back(grants);
    if (++removal_count_ >= kRemovalBatch) Flush();
  }
  Delete(entry);
}

void Ownership::Delete(ObjectEntry* entry) {
  if (entry->in_table) table_.erase(entry->id);
  --count_;
  entries_.Delete(entry);
}

void Ownership::DropContained(ObjectEntry* entry) {
  for (ObjectEntry* child : std::exchange(entry->contained, {})) Drop(child);
}

void Ownership::SetValue(ObjectEntry* entry, WireValue value) {
  std::vector<ObjectEntry*> contained;
  contained.reserve(value.refs.size());
  for (std::size_t i = 0; i < value.refs.size(); ++i) {
    contained.push_back(Receive(value.refs[i], i < value.granted.size() && value.granted[i] != 0));
  }
  SetLocalValue(entry, std::move(value), std::move(contained));
}

void Ownership::SetLocalValue(ObjectEntry* entry, WireValue value, std::vector<ObjectEntry*> contained) {
  if (entry->ready) {
    if (value.kind == WireValue::kStored && entry->owner == sender_->self()) TakeSecondCopy(entry, value.node);
    for (ObjectEntry* child : contained) Drop(child);
    return;
  }
  // Who said that it was lost may have meant one that was there before this one.
  const bool stays = value.kind == WireValue::kStored && value.node == entry->node;
  if (entry->kind == WireValue::kStored && entry->owner == sender_->self() && !stays) {
    sender_->Send(ProcessId{entry->node, 0}, StoreFree{{entry->id}});
  }
  entry->ready = true;
  if (entry->rare != nullptr) entry->rare->faded = entry->rare->released = false;
  entry->kind = value.kind;
  entry->is_error = value.is_error;
  entry->bytes = std::move(value.bytes);
  entry->node = value.node;
  entry->size = value.size;
  const std::vector<ObjectEntry*> before = std::exchange(entry->contained, std::move(contained));
  Announce(entry);
  for (ObjectEntry* child : before) Drop(child);
}

void Ownership::Announce(ObjectEntry* entry) {
  Hold(entry);
  if (entry->rare != nullptr) {
    for (const ProcessId process : std::exchange(entry->rare->waiting, {})) {
      sender_->Send(process, ValueReply{entry->id, ValueOf(entry)});
      Drop(entry);
    }
    for (auto& callback : std::exchange(entry->rare->on_ready, {})) {
      Hold(entry);
      to_call_.emplace_back(entry, std::move(callback));
    }
  }
  listener_->OnObjectReady(entry);
  if (!to_call_.empty()) CallBack();
  Drop(entry);
}

void Ownership::CallBack() {
  if (calling_) return;
  calling_ = true;
  while (!to_call_.empty()) {
    const auto [entry, callback] = std::move(to_call_.front());
    to_call_.pop_front();
    callback(entry);
    Drop(entry);
  }
  calling_ = false;
}

std::optional<StorePlace> Ownership::StorePlaceOf(const ObjectEntry& entry) {
  if (!entry.ready) return entry.rare == nullptr ? std::nullopt : entry.rare->hint;
  if (entry.kind != WireValue::kStored) return std::nullopt;
  return StorePlace{entry.node, entry.size};
}

void Ownership::ConfirmHint(ObjectEntry* entry) {
  if (entry->ready || entry->rare == nullptr || !entry->rare->hint) return;
  WireValue value;
  value.kind = WireValue::kStored;
  value.node = entry->rare->hint->node;
  value.size = entry->rare->hint->size;
  SetLocalValue(entry, std::move(value), {});
}

void Ownership::DropHint(ObjectEntry* entry) {
  if (entry->rare != nullptr) entry->rare->hint.reset();
}

void Ownership::RequestValue(ObjectEntry* entry, std::uint32_t lost_at, const std::string& reason) {
  if (entry->requested || entry->ready || entry->owner == sender_->self()) return;
  entry->requested = true;
  if (gone_.contains(entry->owner)) {
    SetValue(entry, SystemError("OwnerDiedError", "the process that owned the object has ended"));
    return;
  }
  WatchOnce(entry->owner);
  const ValueRequest request{entry->id, lost_at, reason};
  lost_at == kNoNode ? sender_->Send(entry->owner, request)
                     : SendGuarded(entry->owner, MessageType::kValueRequest, Encode(request), true);
}

// ---- references in messages ----------------------------------------------------------------------------------------

WireRef Ownership::Export(ObjectEntry* entry) {
  if (!entry->in_table) {
    entry->in_table = true;
    table_.emplace(entry->id, entry);
  }
  WireRef ref{entry->id, entry->owner};
  const bool has_place = entry->kind == WireValue::kStored && entry->owner == sender_->self() && entry->ready;
  if (has_place && !entry->is_error && !entry->freed && entry->contained.empty()) {
    ref.node = entry->node;
    ref.size = entry->size;
  }
  return ref;
}

ObjectEntry* Ownership::Receive(const WireRef& ref, bool granted) {
  ObjectEntry* entry = Find(ref.object);
  if (entry != nullptr) {
    ++entry->holds;
    Revive(entry);
  } else {
    entry = Create(ref.object, ref.owner);
    Export(entry);
    if (ref.owner == sender_->self()) {
      SetValue(entry, SystemError("ObjectLostError", "the object was freed before this reference to it arrived"));
    }
  }
  if (ref.node != kNoNode && !entry->ready && !entry->requested) entry->Extra().hint = StorePlace{ref.node, ref.size};
  if (granted) ref.owner == sender_->self() ? void(RemoveBorrower(entry, ref.owner, 1)) : void(++entry->Extra().grants);
  return entry;
}

std::vector<ObjectEntry*> Ownership::ReceiveArgs(const TaskView& task) {
  std::vector<ObjectEntry*> received;
  for (const ArgView& arg : task.args) {
    if (arg.kind == ArgHeader::kStored) {
      received.push_back(ReceiveStored(arg));
      continue;
    }
    for (const WireRef& ref : arg.refs) received.push_back(Receive(ref, false));
  }
  return received;
}

ObjectEntry* Ownership::ReceiveStored(const ArgView& arg) {
  const WireRef& ref = arg.refs[0];
  ObjectEntry* entry = Receive({ref.object, ref.owner}, false);
  if (entry->ready || IsOwn(*entry)) return entry;  // of an own object that is lost the spec tells old news
  WireValue value;
  value.kind = WireValue::kStored;
  value.node = ref.node;
  value.size = ref.size;
  value.refs = arg.contained;
  SetValue(entry, std::move(value));
  return entry;
}

void Ownership::Refuse(const WireValue& value) {
  for (std::size_t i = 0; i < value.granted.size(); ++i) {
    if (value.granted[i] != 0) Drop(Receive(value.refs[i], true));
  }
}

WireValue Ownership::ValueOf(ObjectEntry* entry) {
  entry->seen = true;
  if (entry->freed) return SystemError("ObjectFreedError", "", entry->id.Binary());
  WireValue value;
  value.kind = entry->kind;
  value.is_error = entry->is_error;
  value.bytes = entry->bytes;
  value.node = entry->node;
  value.size = entry->size;
  value.refs.reserve(entry->contained.size());
  for (ObjectEntry* child : entry->contained) value.refs.push_back(Export(child));
  return value;
}

void Ownership::GrantContained(const std::vector<ObjectEntry*>& contained, ProcessId receiver, WireValue* value) {
  for (ObjectEntry* child : contained) {
    value->refs.push_back(Export(child));
    value->granted.push_back(child->owner != receiver || receiver == sender_->self());
    if (child->owner == sender_->self()) {
      AddBorrower(child, receiver, 1);  // a process may get results from itself
    } else if (child->owner == receiver) {
      Register(child);  // goes before the result, so that the object is still there when the result arrives
    } else {
      SendBorrowAdd(child, receiver);
    }
  }
}

void Ownership::CloseScope(const std::vector<ObjectEntry*>& received) {
  for (ObjectEntry* entry : received) {
    if (entry->holds > 1) Register(entry);
  }
  for (ObjectEntry* entry : received) Drop(entry);
}

void Ownership::Register(ObjectEntry* entry) {
  if (entry->owner == sender_->self() || (entry->rare != nullptr && entry->rare->grants > 0)) return;
  ++entry->Extra().grants;
  SendBorrowAdd(entry, sender_->self());
}

std::uint64_t Ownership::SendBorrowAdd(ObjectEntry* entry, ProcessId borrower) {
  if (gone_.contains(entry->owner)) return 0;
  WatchOnce(entry->owner);
  const std::uint64_t token = next_token_++;
  unacknowledged_.emplace(token, entry->owner);
  sender_->Send(entry->owner, BorrowAdd{{entry->id}, borrower, token});
  return token;
}

bool Ownership::BlockedBy(ProcessId to, std::uint64_t barrier) const {
  for (const auto& [token, owner] : unacknowledged_) {
    if (token >= barrier) return false;
    if (owner != to) return true;
  }
  return false;
}

void Ownership::SendGuarded(ProcessId to, MessageType type, std::string payload, bool prompt) {
  const auto queue = guarded_.find(to);
  if (queue == guarded_.end() && (unacknowledged_.empty() || !BlockedBy(to, next_token_))) {
    sender_->To(to)->Send(type, payload, prompt);
    return;
  }
  guarded_[to].push_back({next_token_, type, std::move(payload), prompt});
  ++guarded_count_;
}

void Ownership::SendUnblocked() {
  for (auto it = guarded_.begin(); it != guarded_.end();) {
    std::deque<Guarded>& queue = it->second;
    while (!queue.empty() && !BlockedBy(it->first, queue.front().barrier)) {
      sender_->To(it->first)->Send(queue.front().type, queue.front().payload, queue.front().prompt);
      queue.pop_front();
      --guarded_count_;
    }
    const auto current = it++;
    if (queue.empty()) guarded_.erase(current);
  }
}

// ---- events --------------------------------------------------------------------------------------------------------

void Ownership::AddBorrower(ObjectEntry* entry, ProcessId borrower, std::uint32_t count) {
  if (gone_.contains(borrower)) return;
  WatchOnce(borrower);
  auto& borrowers = entry->Extra().borrowers;
  const auto it =
      std::find_if(borrowers.begin(), borrowers.end(), [&](const auto& item) { return item.first == borrower; });
  it == borrowers.end() ? void(borrowers.emplace_back(borrower, count)) : void(it->second += count);
}

bool Ownership::RemoveBorrower(ObjectEntry* entry, ProcessId borrower, std::uint32_t count) {
  if (entry->rare == nullptr) return false;
  auto& borrowers = entry->rare->borrowers;
  const auto it =
      std::find_if(borrowers.begin(), borrowers.end(), [&](const auto& item) { return item.first == borrower; });
  if (it == borrowers.end()) return false;
  if (it->second > count) {
    it->second -= count;
    return false;
  }
  borrowers.erase(it);
  return borrowers.empty() && entry->holds == 0;
}

void Ownership::On(ProcessId from, const BorrowAdd& message) {
  for (const ObjectId& object : message.objects) {
    ObjectEntry* entry = Find(object);
    if (entry != nullptr && entry->owner == sender_->self()) AddBorrower(entry, message.borrower, 1);
  }
  if (message.token != 0) sender_->Send(from, BorrowAck{message.token});
}

void Ownership::On(const BorrowAck& message) {
  if (unacknowledged_.erase(message.token) != 0) SendUnblocked();
}

void Ownership::On(ProcessId from, const BorrowRemove& message) {
  for (std::size_t i = 0; i < message.objects.size() && i < message.counts.size(); ++i) {
    ObjectEntry* entry = Find(message.objects[i]);
    if (entry == nullptr || !RemoveBorrower(entry, from, message.counts[i])) continue;
    ++entry->holds;
    Drop(entry);
  }
}

void Ownership::On(ProcessId from, const ValueRequest& message) {
  ObjectEntry* entry = Find(message.object);
  if (entry == nullptr) {
    sender_->Send(from,
                  ValueReply{message.object, SystemError("ObjectLostError", "the object was freed by its owner")});
    return;
  }
  Hold(entry);
  Revive(entry);
  if (message.lost_at != kNoNode && entry->owner == sender_->self()) Lose(entry, message.lost_at, message.reason);
  if (entry->ready) {
    sender_->Send(from, ValueReply{message.object, ValueOf(entry)});
  } else {
    WatchOnce(from);
    entry->Extra().waiting.push_back(from);
    Hold(entry);  // it may have been read from a value that is lost since, and nothing else hold it
  }
  Drop(entry);
}

void Ownership::On(const ValueReply& message) {
  ObjectEntry* entry = Find(message.object);
  if (entry != nullptr && entry->owner != sender_->self()) SetValue(entry, message.value);
}

void Ownership::WatchOnce(ProcessId process) {
  if (process == sender_->self() || process.IsEngine() || !watched_.insert(process).second) return;
  sender_->SendToEngine(Watch{process});
}

void Ownership::OnProcessGone(ProcessId process, const std::string& cause) {
  if (!gone_.insert(process).second) return;
  watched_.erase(process);
  removals_.erase(process);
  for (auto it = unacknowledged_.begin(); it != unacknowledged_.end();) {
    it = it->second == process ? unacknowledged_.erase(it) : std::next(it);
  }
  if (const auto it = guarded_.find(process); it != guarded_.end()) {
    guarded_count_ -= it->second.size();
    guarded_.erase(it);
  }
  std::vector<ObjectEntry*> affected;  // held during the walk, so that none disappears under it
  for (auto& [id, entry] : table_) {
    ++entry->holds;
    affected.push_back(entry);
  }
  std::sort(affected.begin(), affected.end(),
            [](const auto* a, const auto* b) { return a->id < b->id; });  // repeatable
  for (ObjectEntry* entry : affected) {
    if (entry->owner == sender_->self()) {
      RemoveBorrower(entry, process, ~0u);
    } else if (entry->owner == process && entry->requested) {
      SetValue(entry, SystemError("OwnerDiedError", cause));
    }
  }
  for (ObjectEntry* entry : affected) Drop(entry);
  SendUnblocked();
}

void Ownership::Flush() {
  for (auto& [owner, removal] : std::exchange(removals_, {})) {
    SendGuarded(owner, MessageType::kBorrowRemove, Encode(removal), false);
  }
  removal_count_ = 0;
}

}  // namespace ray_engine
