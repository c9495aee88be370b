// ObjectEntry: what this process knows of one object, its own or a borrowed one.
//
// An entry lives while something here holds it (references of the program, arguments of pending tasks, values that
// contain it) or, for an own object, while another process borrows it. Ownership (ownership.h) is the only one to
// create and delete entries; see docs/design.md for the protocol.
//
// Thread-compatible (the runtime's lock).

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/wire/messages.h"

namespace ray_engine {

// A stored object that this process has mapped; released with the last view of it.
struct Pin {
  ObjectId object;
  const char* data = nullptr;
  std::uint64_t size = 0;
  std::function<void(const ObjectId&)> release;
  Pin() = default;
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;
  ~Pin() {
    if (release) release(object);
  }
};

struct StorePlace {
  std::uint32_t node = 0;
  std::uint64_t size = 0;
};
struct Lineage;

struct ObjectEntry {
  // How an own object came to be; what is not `kTask` cannot be made again (lineage.h).
  enum Origin : std::uint8_t { kNoLineage, kPut, kHandle, kTask, kRetriesDisabled, kLineageEvicted };

  ObjectId id;
  ProcessId owner;
  std::uint32_t holds = 0;
  bool in_table = false;    // other processes may name it
  bool to_release = false;  // Ownership is about to look whether anything still holds it
  bool ready = false;       // the value (or error) below is there
  bool is_error = false;
  bool requested = false;          // borrowed: the owner has been asked for the value
  std::atomic<bool> freed{false};  // the program gave the value up; what is below stays for who is reading it
  std::atomic<bool> seen{false};   // an error: somebody has been told of it
  bool marked = false;             // by a wait() that looks for objects it was given twice (bindings, under the GIL)
  WireValue::Kind kind = WireValue::kInline;
  Origin origin = kNoLineage;
  std::uint32_t node = 0;  // kStored
  std::uint64_t size = 0;  // kStored
  std::string bytes;
  std::vector<ObjectEntry*> contained;  // references inside the value, held by it

  struct Rare {
    std::vector<std::pair<ProcessId, std::uint32_t>> borrowers;  // own: processes and how many counts each was given
    std::vector<ProcessId> waiting;                              // own: to be told when ready; each holds it
    std::vector<std::uint32_t> copies;                           // own: nodes with a copy beside the primary
    bool faded = false;                                          // kTask: its value is gone, its lineage not
    bool released = false;                                       // it is gone as nobody held it, not lost
    std::uint32_t lineage_holds = 0;                             // kTask: lineages of others that lead back to it
    std::shared_ptr<Lineage> lineage;                            // kTask
    std::uint32_t grants = 0;                                    // borrowed: counts the owner holds for this process
    std::optional<StorePlace> hint;                              // borrowed: where it lay when its owner sent it
    std::vector<std::function<void(ObjectEntry*)>> on_ready;
    std::weak_ptr<Pin> pin;
    bool pin_requested = false;
    const std::string* call_site = nullptr;  // the program's line that made it, where that is recorded
  };
  std::unique_ptr<Rare> rare;

  Rare& Extra() {
    if (rare == nullptr) rare = std::make_unique<Rare>();
    return *rare;
  }
};
static_assert(sizeof(ObjectEntry) == 128);  // two cache lines; a program may have millions

// An error that the engine itself raises: the Python class to use, a text, and optional bytes (a pickled cause).
WireValue SystemError(std::string_view kind, std::string_view text, std::string_view detail = {});

// Its three parts; where it has no bytes of its own, `detail` is the id of what it is about: `object`, or its task.
struct SystemErrorParts {
  std::string_view kind, text;
  std::string detail;
};
SystemErrorParts PartsOf(std::string_view system_error, const ObjectId& object);
// The error of a task whose argument `object` is an error of the engine's.
WireValue ErrorOfDependant(std::string_view task_name, std::string_view system_error, const ObjectId& object);

}  // namespace ray_engine
