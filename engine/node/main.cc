// ray-engine-node: the node engine as a program. Started by ray-engine, with one end of a control socket.

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/options.h"
#include "engine/base/version.h"
#include "engine/node/node_engine.h"
#include "engine/transport/ucx_fabric.h"
#include "objectstore/segment.h"
#include "objectstore/spill_container.h"
#include "objectstore/spill_threads.h"

namespace ray_engine {
namespace {

constexpr int kUsage = 2, kCannotStart = 72;

void SetUpLog() {
  auto logger = spdlog::stderr_logger_st("ray-engine");
  logger->set_pattern("%n: %v");
  logger->set_level(spdlog::level::warn);
  spdlog::set_default_logger(logger);
}

absl::StatusOr<std::unique_ptr<SpillDisk>> MakeDisk(const NodeConfig& config, const Segment& segment) {
  SpillThreads::Settings settings;
  settings.directory = config.spill_directory;
  settings.file_name = fmt::format("ray-engine-spill-{}-{}", config.session, config.info.id.Hex().substr(0, 8));
  settings.limit = config.spill_limit.value_or(SpillFile::kNoLimit);
  return SpillThreads::Create(settings, segment.fd(), segment.size());
}

int Main(const std::vector<std::string>& arguments) {
  SetUpLog();
  if (arguments.size() == 1 && arguments.front() == "--version") {
    fmt::print("UCX: {}\nHDF5: {}\n", FabricVersion(), Hdf5Version());
    return 0;
  }
  if (arguments.size() == 1 && arguments.front() == "--doctor") {
    fmt::print("{}{}", DescribeFabric(UcxFabricOptions()), DescribeHugePages());
    return 0;
  }
  Options options;
  if (const absl::Status status = ReadCommandLine(arguments, Program::kEngine, &options); !status.ok()) {
    fmt::print(stderr, "ray-engine-node: {}\n", std::string(status.message()));
    return kUsage;
  }
  if (!options.Given("control-fd") || !options.Given("session") || !options.Given("object-store-memory")) {
    fmt::print(stderr, "ray-engine-node {} is started by ray-engine, not by people\n", std::string(Version()));
    return kUsage;
  }
  const NodeConfig config = ConfigOf(options);
  UcxFabricOptions fabric;
  fabric.virtual_nodes = config.virtual_nodes || !config.fabric;  // nodes that join later are on this machine
  NodeEngine engine(
      config, [fabric](FabricHandler* handler) { return MakeUcxFabric(fabric, handler); },
      [&config](const Segment& segment) { return MakeDisk(config, segment); });
  if (const absl::Status status = engine.Start(); !status.ok()) {
    spdlog::critical("the node engine cannot start: {}", std::string(status.message()));
    return kCannotStart;
  }
  return engine.Run();
}

}  // namespace
}  // namespace ray_engine

int main(int argc, char** argv) { return ray_engine::Main(std::vector<std::string>(argv + 1, argv + argc)); }
