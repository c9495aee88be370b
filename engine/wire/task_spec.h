// Task spec: the hand-laid payloads of PushTask and TaskDone, the two messages of the hot path.
//
//   PushTask  TaskHeader | name (u8 length, bytes) | args | keyword names (u8 length, bytes each)
//             | tail: encoded resources (normal tasks), or the name given to the call (methods), if any
//   an arg    ArgHeader | refs (WireRef each) | bytes   kValue: an encoded value, the references inside it
//             ArgHeader | WireRef | refs          kStored: an object in a store with its place, the references inside
//             it
//   TaskDone  DoneHeader | return values (WireValue each)
//
// A spec is built once by its submitter and kept until the task is done, so that a retry sends the same bytes.
//
// Thread-compatible. See docs/wire_format.md.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/ids.h"
#include "engine/wire/codec.h"
#include "engine/wire/messages.h"

namespace ray_engine {

// How often a task returns: once, or item by item (streaming; dynamic: it returns a generator of all items).
enum class Yields : std::uint8_t { kNo = 0, kStreaming = 1, kDynamic = 2 };

enum class TaskKind : std::uint8_t { kNormal = 0, kActorCreation = 1, kActorMethod = 2 };

// The concurrency group that every actor has beside its own: what the program says to it while its methods block.
inline constexpr std::uint8_t kSystemGroup = 255;

struct TaskHeader {
  TaskId task;
  FunctionId function;        // definition of the function, or of the actor's class
  LeaseId lease{};            // under which it runs (normal tasks)
  std::uint32_t slot = 0;     // the owner's record, echoed by TaskDone
  std::uint32_t attempt = 0;  // the owner's serial number of this push, echoed too: no two pushes share one
  std::uint16_t num_returns = 1;
  std::uint16_t depth = 0;          // 1 for what a driver submits, 2 for what that submits, ...; ends at 65535
  std::uint16_t arg_count = 0;      // positional and keyword
  std::uint16_t keyword_count = 0;  // the last of them
  TaskKind kind = TaskKind::kNormal;
  std::uint8_t concurrency_group =
      0;  // of a method: 0 is the default, else a place in the actor's list, from 1, or kSystemGroup
  Yields yields = Yields::kNo;
  bool captures_children = false;  // its tasks run in its placement group too
  std::uint32_t stream_limit = 0;  // kStreaming: items that may wait for their reader; 0: any number
};
static_assert(sizeof(TaskHeader) == 72);

struct ArgHeader {
  enum Kind : std::uint8_t { kValue = 0, kStored = 1, kUnresolved = 2 };  // the last never travels
  Kind kind = kValue;
  std::uint8_t reserved[3] = {};
  std::uint32_t ref_count = 0;
  std::uint64_t size = 0;
};
static_assert(sizeof(ArgHeader) == 16);

// When a task ran, in nanoseconds since 1970 by the clock of its node; 0: it has not. Of that: how long it took until
// its arguments were there, and from the return of its function until its results were; 0: too short to be looked at.
struct RunTime {
  std::int64_t started_ns = 0, ended_ns = 0;
  std::uint32_t args_us = 0, results_us = 0;
};

struct DoneHeader {
  std::uint32_t slot = 0;
  std::uint32_t attempt = 0;
  RunTime ran;
  std::uint16_t num_returns = 0;
  // kFinalError never travels. kArgsLost: it has not started, since stored arguments of its owner's are lost; the owner
  // has been told of them, and is to send it again with what takes their place.
  enum Outcome : std::uint8_t { kOk = 0, kUserError = 1, kCancelled = 2, kFinalError = 3, kArgsLost = 4 };
  Outcome outcome = kOk;
  std::uint8_t reserved[5] = {};
};
static_assert(sizeof(DoneHeader) == 40);

// Appends plain memory to a payload.
template <class T>
void AppendPlain(std::string* out, const T& value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

// An argument seen in place, inside the payload it came with.
struct ArgView {
  ArgHeader::Kind kind = ArgHeader::kValue;
  std::string_view bytes;          // kValue
  std::vector<WireRef> refs;       // inside the value; kStored: the object itself and its place
  std::vector<WireRef> contained;  // kStored: inside the value
};

struct TaskView {
  TaskHeader header;
  std::string_view name;
  std::vector<ArgView> args;
  std::vector<std::string_view> keywords;
  std::string_view
      tail;  // kNormal: an encoded ResourceSet, what the task was given; kActorMethod: the name it was given
};

inline constexpr std::size_t kMinWireRefSize = ObjectId::kSize;  // so that no count is believed that cannot be true

// Returns false for a malformed payload. The view points into it.
inline bool ParseTask(std::string_view payload, TaskView* view) {
  Reader reader(payload);
  const auto plain = [&reader](auto* value) {
    const std::string_view bytes = reader.Take(sizeof *value);
    if (reader.ok()) std::memcpy(static_cast<void*>(value), bytes.data(), sizeof *value);
    return reader.ok();
  };
  const auto text = [&](std::string_view* out) {
    std::uint8_t size = 0;
    if (plain(&size)) *out = reader.Take(size);
    return reader.ok();
  };
  if (!plain(&view->header) || !text(&view->name)) return false;
  view->args.resize(view->header.arg_count);
  for (ArgView& arg : view->args) {
    ArgHeader header;
    if (!plain(&header) || header.ref_count > reader.rest().size() / kMinWireRefSize) return false;
    arg.kind = header.kind;
    const bool stored = header.kind == ArgHeader::kStored;
    arg.refs.resize(stored ? 1 : header.ref_count);
    arg.contained.resize(stored ? header.ref_count : 0);
    for (WireRef& ref : arg.refs) reader(ref);
    for (WireRef& ref : arg.contained) reader(ref);
    if (!stored) arg.bytes = reader.Take(header.size);
  }
  view->keywords.resize(view->header.keyword_count);
  for (std::string_view& keyword : view->keywords) text(&keyword);
  view->tail = reader.rest();
  return reader.ok() && view->header.keyword_count <= view->header.arg_count;
}

}  // namespace ray_engine
