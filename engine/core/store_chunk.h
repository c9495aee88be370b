// StoreChunk: the part of the node's store that this process fills with objects without asking the engine for each.
//
// Objects below kLimit are carved from a chunk that the engine has granted. A process that puts several such objects
// asks for a chunk, and for larger ones as it uses them up; meanwhile, and where memory is short, each object is asked
// for. What is left of a chunk goes back when it has not been used for a while, or the engine asks. The engine learns
// of an object with its seal, which names its place.
//
// Pure state machine: speaks only through its Sender. Thread-compatible (the runtime's lock).

#pragma once

#include <cstdint>
#include <optional>

#include "engine/core/sender.h"

namespace ray_engine {

class StoreChunk {
 public:
  static constexpr std::uint64_t kLimit = 1 << 20, kAlignment = 64;
  static constexpr std::uint64_t kFirst = 2 << 20, kLargest = 8 << 20;
  static constexpr std::uint32_t kFew = 2;                 // objects that are asked for one by one before
  static constexpr std::int64_t kIdleNs = 500'000'000;     // after which it goes back
  static constexpr std::int64_t kRefusedNs = 100'000'000;  // before the engine is asked again

  explicit StoreChunk(Sender* sender) : sender_(sender) {}

  // Where an object of this size may be written; nothing if the engine must be asked. Whoever gets a place seals it
  // or returns it.
  std::optional<std::uint64_t> Carve(std::uint64_t size, std::int64_t now_ns);
  void On(const StoreReserved& granted, std::int64_t now_ns);
  // The engine wants the rest back.
  void GiveBack();
  // Call every now and then while NeedsTick().
  void Tick(std::int64_t now_ns);
  bool NeedsTick() const { return size_ > 0; }

 private:
  void Ask(std::int64_t now_ns);

  Sender* sender_;
  std::uint64_t offset_ = 0, size_ = 0;  // what is left
  std::uint64_t asked_ = 0;              // bytes; 0: not
  std::uint64_t wanted_ = kFirst;
  bool refuse_ = false;  // what comes was asked for before the engine wanted all back
  std::uint32_t misses_ = 0;
  std::int64_t used_ns_ = 0;
  std::optional<std::int64_t> refused_ns_;
};

}  // namespace ray_engine
