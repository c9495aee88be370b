// StorePins: objects of the node's store that this process has mapped, or has asked its engine for.
//
// Owns the questions to the engine that have no answer yet, and the way back of pins: views of a value hold its Pin,
// and with the last of them the engine is told. An answer may come when nobody waits for it any more (the wait timed
// out, or was interrupted for good): what it gives then is let go at once.
//
// REQUIRES: the lock, the runtime's, is held in every call but Close(). Pins are dropped by any thread, which must not
// hold it; they may outlive this.

#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/object_entry.h"
#include "engine/core/ownership.h"
#include "engine/core/sender.h"
#include "objectstore/store_client.h"

namespace ray_engine {

// A question for values that lie in the store. REQUIRES: the entries are ready, kStored; or have a hint, which is then
// put to the proof.
struct PinRequest {
  explicit PinRequest(std::vector<ObjectEntry*> wanted) : entries(std::move(wanted)) {}

  struct Asked {
    std::size_t index;
    std::uint32_t node;  // where it is sought
    std::uint64_t token;
  };
  std::vector<ObjectEntry*> entries;
  bool may_spill = true;                   // whether other objects may be spilled to make room for them
  std::vector<std::shared_ptr<Pin>> pins;  // one for each entry, once asked; null where that failed
  std::string error;                       // why
  StoreProblem problem{};                  // its kind
  bool lost = false;                       // some were lost: wait for the entries once more
  std::vector<Asked> asked;
  std::size_t answered = 0;     // of `asked`, from the first on: so many need not be looked at again
  bool from_elsewhere = false;  // some of what is asked for lies on another node
};

class StorePins {
 public:
  StorePins(std::mutex* lock, Sender* sender, Ownership* ownership, std::shared_ptr<StoreClient> store);
  StorePins(const StorePins&) = delete;
  ~StorePins() { Close(); }
  // Pins that go from now on tell nobody.
  void Close();
  // There is no engine any more that could be told.
  void End() { ended_ = true; }

  // Once per request: finds what is pinned already, asks the engine for the rest.
  void Ask(PinRequest* request);
  bool AllAnswered(PinRequest* request) const;
  // Takes what has come and abandons the rest.
  void Take(PinRequest* request);
  // What has been asked for and is not taken is let go, now or when it comes.
  void Abandon(PinRequest* request);

  void On(const StorePinned& message);

  // What this process has reserved there, as a pin of an object that it may become.
  std::shared_ptr<Pin> RoomAt(std::uint64_t offset, std::uint64_t size);

 private:
  struct Question {
    bool answered = false, abandoned = false;
    ObjectId object;
    StorePinned answer;
  };
  struct WayBack {
    std::mutex mutex;
    StorePins* pins = nullptr;  // null once closed
  };

  std::shared_ptr<Pin> PinOf(ObjectEntry* entry, const StorePinned& pinned, const char* data);
  void TakeOne(const PinRequest::Asked& ask, const StorePinned& pinned, PinRequest* request);
  void Unpin(const ObjectId& object);
  std::function<void(const ObjectId&)> WithLock(std::function<void(StorePins*, const ObjectId&)> release);

  std::mutex* lock_;
  Sender* sender_;
  Ownership* ownership_;
  std::shared_ptr<StoreClient> store_;
  std::shared_ptr<WayBack> way_back_;
  absl::flat_hash_map<std::uint64_t, Question> questions_;
  std::uint64_t next_token_ = 1;
  bool ended_ = false;
};

}  // namespace ray_engine
