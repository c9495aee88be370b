// Locality: on which node a task had best run, by where its arguments are stored.
//
// Pure.

#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/core/object_entry.h"

namespace ray_engine {

// The node that holds most bytes of the stored objects among these (offset in the spec, object), copies included; the
// first of them where two hold the same. kNoNode if nothing is stored. REQUIRES: all are ready.
std::uint32_t NodeWithMostBytes(const std::vector<std::pair<std::size_t, ObjectEntry*>>& args);

}  // namespace ray_engine
