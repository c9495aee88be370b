// Stream: the items of a task that yields, at its owner.
//
// Item i is the object with return index i + 2 of the task; index 1 is the object that ends with the task itself. The
// entry of the next item to be read exists before its value does, so waiting for an item is waiting for an object like
// any other. Where the items end, that entry is given a value too and `AtEnd()` is true. Items that arrive again
// because the task was retried are dropped.
//
// Owned by whoever reads it and by the task's record. Pure state machine. Thread-compatible (the runtime's lock).

#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "engine/core/ownership.h"
#include "engine/core/sender.h"

namespace ray_engine {

class Stream {
 public:
  // `limit`: the worker waits while so many items have not been read; 0: it never does.
  Stream(Ownership* ownership, Sender* sender, const TaskId& task, std::uint32_t limit);

  // ---- the task ----------------------------------------------------------------------------------------------------

  void OnItem(ProcessId worker, std::uint32_t index, WireValue value);
  // The task has ended. An error becomes the last item.
  void End(const WireValue* error);

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
  void Refuse(std::uint32_t index, const WireValue& value);
  ObjectEntry* Item(std::uint32_t index);
  void TellConsumed();

  Ownership* ownership_;
  Sender* sender_;
  const TaskId task_;
  const std::uint32_t limit_;
  bool closed_ = false;
  ProcessId worker_;                  // where the items come from; nil before the first
  std::deque<ObjectEntry*> items_;    // from `read_` on
  std::uint32_t read_ = 0;            // index of the next item to be read
  std::uint32_t produced_ = 0;        // items seen of any attempt
  std::optional<std::uint32_t> end_;  // number of items, once known
};

}  // namespace ray_engine
