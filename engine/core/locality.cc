#include "engine/core/locality.h"

#include <algorithm>

namespace ray_engine {
namespace {

using Bytes = std::vector<std::pair<std::uint32_t, std::uint64_t>>;  // by node, in the order they were met

void Add(std::uint32_t node, std::uint64_t size, Bytes* bytes) {
  const auto known =
      std::find_if(bytes->begin(), bytes->end(), [node](const auto& held) { return held.first == node; });
  known == bytes->end() ? void(bytes->emplace_back(node, size)) : void(known->second += size);
}

}  // namespace

std::uint32_t NodeWithMostBytes(const std::vector<std::pair<std::size_t, ObjectEntry*>>& args) {
  Bytes bytes;
  for (const auto& [offset, entry] : args) {
    if (entry->kind != WireValue::kStored) continue;
    Add(entry->node, entry->size, &bytes);
    if (entry->rare == nullptr) continue;
    for (const std::uint32_t node : entry->rare->copies) Add(node, entry->size, &bytes);
  }
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? kNoNode : most->first;
}

}  // namespace ray_engine
