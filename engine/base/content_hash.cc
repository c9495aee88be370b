#include "engine/base/content_hash.h"

#define XXH_STATIC_LINKING_ONLY  // the size of a state
#include <xxhash.h>

namespace ray_engine {

std::string ContentHash(std::string_view content) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(content.data(), content.size()));
  return {reinterpret_cast<const char*>(canonical.digest), sizeof canonical.digest};
}

struct ContentSum::State {
  XXH3_state_t hash;
};

ContentSum::ContentSum() : state_(std::make_unique<State>()) { Reset(); }
ContentSum::~ContentSum() = default;
void ContentSum::Reset() { XXH3_64bits_reset(&state_->hash); }
void ContentSum::Add(std::string_view part) { XXH3_64bits_update(&state_->hash, part.data(), part.size()); }
std::uint64_t ContentSum::Value() const { return XXH3_64bits_digest(&state_->hash); }

}  // namespace ray_engine
