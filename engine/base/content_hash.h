// ContentHash: 16 bytes that name a piece of content. The .cc is the only user of xxhash.h.
//
// Thread-safe.

#pragma once

#include <string>
#include <string_view>

namespace ray_engine {

std::string ContentHash(std::string_view content);

}  // namespace ray_engine
