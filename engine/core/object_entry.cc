#include "engine/core/object_entry.h"

namespace ray_engine {
namespace {

constexpr std::string_view kDependantsError = "RayTaskError";  // its text is the task's name, its detail the error

}  // namespace

WireValue SystemError(std::string_view kind, std::string_view text, std::string_view detail) {
  WireValue value;
  value.kind = WireValue::kSystemError;
  value.is_error = true;
  value.bytes.append(kind).push_back('\0');
  value.bytes.append(text).push_back('\0');
  value.bytes.append(detail);
  return value;
}

SystemErrorParts PartsOf(std::string_view system_error, const ObjectId& object) {
  const std::size_t text = system_error.find('\0') + 1;
  const std::size_t detail = system_error.find('\0', text) + 1;
  SystemErrorParts parts{system_error.substr(0, text - 1), system_error.substr(text, detail - 1 - text),
                         std::string(system_error.substr(detail))};
  const bool of_task = parts.kind.substr(0, 4) == "Task";
  if (parts.detail.empty()) parts.detail = of_task ? TaskOf(object).Binary() : object.Binary();
  return parts;
}

WireValue ErrorOfDependant(std::string_view task_name, std::string_view system_error, const ObjectId& object) {
  const SystemErrorParts parts = PartsOf(system_error, object);
  if (parts.kind == kDependantsError) return SystemError(parts.kind, parts.text, parts.detail);
  return SystemError(kDependantsError, task_name, SystemError(parts.kind, parts.text, parts.detail).bytes);
}

}  // namespace ray_engine
