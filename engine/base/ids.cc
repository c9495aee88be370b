#include "engine/base/ids.h"

#include <sys/random.h>

namespace ray_engine {

template <std::size_t kBytes, class Tag>
Id<kBytes, Tag> Id<kBytes, Tag>::Random() {
  Id id;
  std::size_t done = 0;
  while (done < kBytes) {
    const ssize_t n = getrandom(id.data() + done, kBytes - done, 0);
    if (n > 0) done += static_cast<std::size_t>(n);
  }
  return id;
}

template <std::size_t kBytes, class Tag>
std::string Id<kBytes, Tag>::Hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * kBytes);
  for (const std::uint8_t byte : bytes_) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

template class Id<4, JobTag>;
template class Id<16, ActorTag>;
template class Id<24, TaskTag>;
template class Id<28, ObjectTag>;
template class Id<28, NodeTag>;
template class Id<28, WorkerTag>;
template class Id<18, PlacementGroupTag>;
template class Id<16, FunctionTag>;

std::string ToString(ProcessId process) { return std::to_string(process.node) + "." + std::to_string(process.serial); }

ObjectId ReturnObjectId(const TaskId& task, std::uint32_t index) {
  ObjectId object;
  std::memcpy(object.data(), task.data(), TaskId::kSize);
  std::memcpy(object.data() + TaskId::kSize, &index, sizeof index);
  return object;
}

TaskId TaskOf(const ObjectId& object) { return TaskId::FromBinary(object.Binary().substr(0, TaskId::kSize)); }

}  // namespace ray_engine
