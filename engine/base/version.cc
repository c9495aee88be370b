#include "engine/base/version.h"

#include "version_info.h"

namespace ray_engine {

std::string_view Version() { return RAY_ENGINE_VERSION; }
std::string_view Commit() { return RAY_ENGINE_COMMIT; }
std::string_view BuildId() { return RAY_ENGINE_VERSION "+" RAY_ENGINE_COMMIT "." RAY_ENGINE_BUILD_HASH; }
std::string_view RayVersion() { return "2.60.0"; }
std::string_view PythonVersion() { return RAY_ENGINE_PYTHON_VERSION; }

}  // namespace ray_engine
