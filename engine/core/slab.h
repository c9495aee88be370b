// Slab: places for many objects of one type, which come and go all the time.
//
// Places lie in chunks, without a header of the allocator between them; one that is free is the next to be used. Chunks
// are kept until the end: what was needed once may be needed again.
//
// Thread-compatible.

#pragma once

#include <absl/container/flat_hash_set.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>  // which not every compiler has
#else
#define ASAN_POISON_MEMORY_REGION(address, size) static_cast<void>(address)
#define ASAN_UNPOISON_MEMORY_REGION(address, size) static_cast<void>(address)
#endif

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

namespace ray_engine {

template <class T>
class Slab {
 public:
  Slab() = default;
  Slab(const Slab&) = delete;
  ~Slab() {
    ForEach([](T* object) { object->~T(); });
    for (const auto& chunk : chunks_) ASAN_UNPOISON_MEMORY_REGION(chunk.get(), kChunk * sizeof(Place));
  }

  T* New() {
    if (free_.empty()) Grow();
    Place* place = free_.back();
    free_.pop_back();
    ASAN_UNPOISON_MEMORY_REGION(place, sizeof(Place));
    return new (place) T();
  }
  void Delete(T* object) {
    object->~T();
    auto* place = reinterpret_cast<Place*>(object);
    ASAN_POISON_MEMORY_REGION(place, sizeof(Place));
    free_.push_back(place);
  }
  // `f` must neither make nor delete objects. Slow: for people who ask.
  template <class F>
  void ForEach(F&& f) const {
    const absl::flat_hash_set<const Place*> free(free_.begin(), free_.end());
    for (const auto& chunk : chunks_) {
      for (std::size_t i = 0; i < kChunk; ++i) {
        if (!free.contains(&chunk[i])) f(reinterpret_cast<T*>(&chunk[i]));
      }
    }
  }

 private:
  static constexpr std::size_t kChunk = 64;
  struct alignas(T) Place {
    std::byte bytes[sizeof(T)];
  };

  void Grow() {
    chunks_.emplace_back(new Place[kChunk]);
    for (std::size_t i = kChunk; i-- > 0;) {
      ASAN_POISON_MEMORY_REGION(&chunks_.back()[i], sizeof(Place));
      free_.push_back(&chunks_.back()[i]);
    }
  }

  std::vector<std::unique_ptr<Place[]>> chunks_;
  std::vector<Place*> free_;
};

}  // namespace ray_engine
