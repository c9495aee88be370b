// Stream: the items of a task that yields, at its owner.
//
// Item i is the object with return index i + 2 of the task; index 1 is the object that ends with the task itself. The
// entry of the next item to be read exists before its value does, so waiting for an item is waiting for an object like
// any other. Where the items end, that entry is given a value too and `AtEnd()` is true. Items that arrive again
// because the task was retried, or makes lost items again, go to those who hold them and are not read a second time.
//
// A stream that *collects* has no reader: the result of its task is a generator of all items, which takes them at the
// end.
//
// Owned by whoever reads it, by the task's record and by its lineage. Pure state machine. Thread-compatible (the
// runtime's lock).

#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "engine/core/ownership.h"
#include "engine/core/sender.h"

namespace ray_engine {

class Stream {
 public:
  enum Kind : bool { kReads = false, kCollects = true };
  // `limit`: the worker waits while so many items have not been read; 0: it never does.
  Stream(Ownership* ownership, Sender* sender, const TaskId& task, std::uint32_t limit, Kind kind = kReads);
  std::shared_ptr<Stream> Anew() const { return std::make_shared<Stream>(ownership_, sender_, task_, limit_, kind_); }
  bool collects() const { return kind_ == kCollects; }

  // ---- the task ----------------------------------------------------------------------------------------------------

  // It will yield from the start.
  void BeginAttempt() {
    passed_ = 0;
    worker_ = ProcessId();
  }
  // `known`: the item, if there is one already that the stream may have handed over. Returns the item that has its
  // value now, or null.
  ObjectEntry* OnItem(ProcessId worker, std::uint32_t index, WireValue value, ObjectEntry* known = nullptr);
  // This attempt has yielded it.
  bool HasPassed(std::uint32_t index) const { return index < passed_; }
  std::uint32_t passed() const { return passed_; }
  // An item that this attempt has yielded is lost: it is to end soon, since another one must follow.
  void EndSoon(bool by_cancelling);
  // The task has ended. An error becomes the last item.
  void End(const WireValue* error);
  // Lets go of what other attempts than this have yielded. REQUIRES: it collects.
  void Trim();
  // Hands over what this attempt has yielded, with the holds. REQUIRES: Trim().
  std::vector<ObjectEntry*> TakeAll();
  // The attempt has ended in an error, which becomes its last item. REQUIRES: Trim().
  void CollectError(const WireValue& error, ObjectEntry* known);
  const std::deque<ObjectEntry*>& items() const { return items_; }

  // ---- the reader --------------------------------------------------------------------------------------------------

  // The next item: held by the stream.
  ObjectEntry* Peek() const { return items_.front(); }
  // The next item is not one, and there will be none. REQUIRES: Peek()->ready.
  bool AtEnd() const { return end_ == read_; }
  // Hands over the next item with its hold. REQUIRES: Peek()->ready and not AtEnd().
  ObjectEntry* Take();
  // Nobody will read the rest.
  void Close();

 private:
  ObjectEntry* Refuse(std::uint32_t index, const WireValue& value);
  ObjectEntry* Item(std::uint32_t index);
  ObjectEntry* Collect(std::uint32_t index, ObjectEntry* known);
  ObjectEntry* Find(std::uint32_t index, ObjectEntry* known);
  void TellConsumed();

  Ownership* ownership_;
  Sender* sender_;
  const TaskId task_;
  const std::uint32_t limit_;
  const Kind kind_;
  bool closed_ = false;
  ProcessId worker_;                  // where the items come from; nil before the first
  std::deque<ObjectEntry*> items_;    // from `read_` on
  std::uint32_t read_ = 0;            // index of the next item to be read
  std::uint32_t produced_ = 0;        // items seen of any attempt
  std::uint32_t passed_ = 0;          // items seen of the attempt that runs, or ran last
  std::optional<std::uint32_t> end_;  // number of items, once known
};

}  // namespace ray_engine
