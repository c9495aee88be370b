// ContentHash: 16 bytes that name a piece of content. ContentSum: 8 bytes that tell whether a content is what it was,
// for data that comes in parts. The .cc is the only user of xxhash.h.
//
// ContentHash is Thread-safe, ContentSum Thread-compatible.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace ray_engine {

std::string ContentHash(std::string_view content);

class ContentSum {
 public:
  ContentSum();
  ~ContentSum();
  void Reset();
  void Add(std::string_view part);
  std::uint64_t Value() const;  // XXH3-64 of what was added since the last Reset()

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ray_engine
