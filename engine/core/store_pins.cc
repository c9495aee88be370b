#include "engine/core/store_pins.h"

#include <unistd.h>

#include <optional>

namespace ray_engine {

StorePins::StorePins(std::mutex* lock, Sender* sender, Ownership* ownership, std::shared_ptr<StoreClient> store)
    : lock_(lock),
      sender_(sender),
      ownership_(ownership),
      store_(std::move(store)),
      way_back_(std::make_shared<WayBack>()) {
  way_back_->pins = this;
}

void StorePins::Close() {
  const std::lock_guard lock(way_back_->mutex);
  way_back_->pins = nullptr;
}

void StorePins::Ask(PinRequest* request) {
  for (ObjectEntry* entry : request->entries) {
    request->pins.push_back(entry->rare == nullptr ? nullptr : entry->rare->pin.lock());
    if (request->pins.back() != nullptr) continue;
    const std::optional<StorePlace> place = Ownership::StorePlaceOf(*entry);
    if (!place) {  // lost since it was waited for
      request->lost = true;
      continue;
    }
    const std::uint64_t token = next_token_++;
    questions_[token].object = entry->id;
    sender_->SendToEngine(StorePin{token, entry->id, entry->owner, place->node, place->size, request->may_spill});
    request->asked.push_back({request->pins.size() - 1, place->node, token});
    if (place->node == sender_->self().node) continue;
    request->from_elsewhere = true;
    ownership_->Export(entry);  // the engine will name it: CopyAdded
  }
}

bool StorePins::AllAnswered(PinRequest* request) const {
  std::size_t& answered = request->answered;
  while (answered < request->asked.size() && questions_.at(request->asked[answered].token).answered) ++answered;
  return answered == request->asked.size();
}

void StorePins::Take(PinRequest* request) {
  const std::vector<PinRequest::Asked> asked = std::move(request->asked);
  request->asked.clear();
  request->answered = 0;
  for (const PinRequest::Asked& ask : asked) {
    const auto it = questions_.find(ask.token);
    if (!it->second.answered) {
      request->asked.push_back(ask);
      continue;
    }
    const StorePinned answer = std::move(it->second.answer);
    questions_.erase(it);
    TakeOne(ask, answer, request);
  }
  Abandon(request);
}

void StorePins::TakeOne(const PinRequest::Asked& ask, const StorePinned& pinned, PinRequest* request) {
  ObjectEntry* entry = request->entries[ask.index];
  const bool hinted = !entry->ready && Ownership::StorePlaceOf(*entry).has_value();
  if (pinned.problem == StoreProblem::kLost && !hinted) {
    ownership_->Lose(entry, ask.node, pinned.error);  // unless somebody else has found out first
    request->lost = true;
    return;
  }
  const char* data = pinned.problem == StoreProblem::kNone ? store_->ForReading(pinned.offset, pinned.size) : nullptr;
  if (data == nullptr) {
    request->error = pinned.error;
    request->problem = pinned.problem;
    ownership_->DropHint(entry);
    return;
  }
  request->pins[ask.index] = PinOf(entry, pinned, data);
  ownership_->ConfirmHint(entry);
}

std::shared_ptr<Pin> StorePins::PinOf(ObjectEntry* entry, const StorePinned& pinned, const char* data) {
  auto pin = std::make_shared<Pin>();
  pin->object = entry->id;
  pin->data = data;
  pin->size = pinned.size;
  pin->release = WithLock([](StorePins* pins, const ObjectId& object) { pins->Unpin(object); });
  entry->Extra().pin = pin;
  return pin;
}

std::shared_ptr<Pin> StorePins::RoomAt(std::uint64_t offset, std::uint64_t size) {
  auto room = std::make_shared<Pin>();
  room->data = store_->ForWriting(offset, size);
  room->size = size;
  // The engine takes back what has not become an object, be it because there was one already.
  room->release = WithLock([offset, size](StorePins* pins, const ObjectId& object) {
    if (pins->ended_) return;
    pins->sender_->SendToEngine(StoreReturn{offset, size}, false);
    if (!object.IsNil()) pins->Unpin(object);
  });
  return room;
}

// What is run when a pin goes, unless this is closed then. It keeps the memory mapped. A child that the program has
// forked has copies of pins, which are none of its own.
std::function<void(const ObjectId&)> StorePins::WithLock(std::function<void(StorePins*, const ObjectId&)> release) {
  return
      [way_back = way_back_, store = store_, process = getpid(), release = std::move(release)](const ObjectId& object) {
        if (getpid() != process) return;
        const std::lock_guard guard(way_back->mutex);
        if (way_back->pins == nullptr) return;
        const std::lock_guard lock(*way_back->pins->lock_);
        release(way_back->pins, object);
      };
}

void StorePins::Abandon(PinRequest* request) {
  for (const PinRequest::Asked& ask : request->asked) {
    const auto it = questions_.find(ask.token);
    if (!it->second.answered) {
      it->second.abandoned = true;
      if (!ended_) sender_->SendToEngine(StorePinCancel{ask.token});
      continue;
    }
    if (it->second.answer.problem == StoreProblem::kNone) Unpin(it->second.object);
    questions_.erase(it);
  }
  request->asked.clear();
  request->answered = 0;
}

void StorePins::On(const StorePinned& message) {
  const auto it = questions_.find(message.token);
  if (it == questions_.end()) return;
  if (it->second.abandoned) {
    if (message.problem == StoreProblem::kNone) Unpin(it->second.object);
    questions_.erase(it);
    return;
  }
  it->second.answer = message;
  it->second.answered = true;
}

void StorePins::Unpin(const ObjectId& object) {
  if (!ended_) sender_->SendToEngine(StoreUnpin{{object}}, false);
}

}  // namespace ray_engine
