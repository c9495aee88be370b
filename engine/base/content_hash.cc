#include "engine/base/content_hash.h"

#include <xxhash.h>

namespace ray_engine {

std::string ContentHash(std::string_view content) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(content.data(), content.size()));
  return {reinterpret_cast<const char*>(canonical.digest), sizeof canonical.digest};
}

}  // namespace ray_engine
