#include "engine/launch/children.h"

#include <fmt/format.h>

#include <filesystem>

#include "engine/launch/rank.h"
#include "engine/transport/fabric_settings.h"

namespace ray_engine {
namespace {

// Blanks at the end of the forkserver's command line: its workers write their titles over it.
constexpr std::size_t kTitleRoom = 128;

Environment ForChildren(Environment environment) {
  DropLauncherVariables(&environment);
  environment.Drop("RAY_ENGINE_DRIVER_FD");
  return environment;
}

void SetGpuPart(const Offer& offer, Environment* environment) {
  const auto& [variable, list] = offer.gpu_part;
  if (!variable.empty()) environment->Set(variable, list);
}

// So that the interpreter finds our package. Where ray-engine has launched the program, `import ray` and a program
// named ray are ours, too.
Environment ForPython(const Installation& installation, const NodePlan& plan, const Environment& environment) {
  Environment own = ForChildren(environment);
  if (!installation.is_wheel) own.Prepend("PYTHONPATH", installation.python_path);
  if (!plan.in_launch) return own;
  own.Prepend("PYTHONPATH", installation.alias_path);
  own.Prepend("PATH", installation.alias_programs);
  own.Set("RAY_ENGINE_PYTHON", plan.python);
  return own;
}

void AddFd(const char* option, int fd, SpawnRequest* request) {
  if (fd < 0) return;
  request->argv.push_back(fmt::format("--{}={}", option, fd));
  request->inherited_fds.push_back(fd);
}

void AddOffer(const Offer& offer, std::vector<std::string>* argv) {
  argv->push_back(fmt::format("--num-cpus={}", offer.node_cpus));
  argv->push_back(fmt::format("--forkserver-cpus={}", offer.num_cpus));
  if (offer.num_gpus > 0) argv->push_back(fmt::format("--num-gpus={}", offer.num_gpus));
  argv->push_back(fmt::format("--memory={}", offer.memory));
  argv->push_back(fmt::format("--object-store-memory={}", offer.store));
}

void AddOptions(const Options& options, std::vector<std::string>* argv) {
  for (const char* name :
       {"resources", "labels", "node-name", "join", "spill-limit", "heartbeat-interval", "heartbeat-limit"}) {
    if (options.Given(name)) argv->push_back(fmt::format("--{}={}", name, options.Text(name)));
  }
  for (const char* name : {"log-dir", "spill-directory"}) {
    if (options.Given(name))
      argv->push_back(fmt::format("--{}={}", name, std::filesystem::absolute(options.Text(name)).string()));
  }
}

}  // namespace

SpawnRequest EngineRequest(const Options& options, const Installation& installation, const NodePlan& plan,
                           const ChildEnds& ends, const Environment& environment) {
  SpawnRequest request;
  request.argv = {installation.node_program, "--session=" + plan.session, "--python-path=" + installation.python_path};
  if (!plan.socket.empty()) request.argv.push_back("--socket=" + plan.socket);
  if (plan.head) request.argv.push_back("--head");
  if (plan.virtual_nodes) request.argv.push_back("--virtual");
  if (plan.fabric) request.argv.push_back("--fabric");
  AddOffer(plan.offer, &request.argv);
  AddOptions(options, &request.argv);
  AddFd("control-fd", ends.control, &request);
  AddFd("forkserver-fd", ends.engine_forkserver, &request);
  AddFd("driver-fd", ends.engine_driver, &request);
  request.environment = ForChildren(environment);
  SetGpuPart(plan.offer, &request.environment);
  for (const auto& [name, value] : FabricEnvironment()) request.environment.Set(name, value);
  request.null_input = request.new_session = request.die_with_parent = true;
  return request;
}

SpawnRequest ForkserverRequest(const Installation& installation, const NodePlan& plan, const ChildEnds& ends,
                               const Environment& environment) {
  SpawnRequest request;
  request.argv = {plan.python, "-m", "ray_engine._forkserver", std::to_string(ends.forkserver),
                  std::string(kTitleRoom, ' ')};
  request.environment = ForPython(installation, plan, environment);
  SetGpuPart(plan.offer, &request.environment);
  request.directory = "/";  // modules are not to be found in the working directory by accident
  request.inherited_fds = {ends.forkserver};
  request.null_input = request.new_session = request.die_with_parent = true;
  return request;
}

absl::StatusOr<SpawnRequest> QuestionRequest(const std::vector<std::string>& words, const Installation& installation,
                                             const Options& options, const Environment& environment) {
  const std::string python = FindProgram(options.Text("python"), environment.Get("PATH"));
  if (python.empty())
    return absl::NotFoundError(fmt::format("--python: there is no interpreter '{}'", options.Text("python")));
  SpawnRequest request;
  request.argv = {python, "-m", "ray_engine._ask", "ray-engine"};
  request.argv.insert(request.argv.end(), words.begin(), words.end());
  request.environment = environment;
  if (!installation.is_wheel) request.environment.Prepend("PYTHONPATH", installation.python_path);
  request.die_with_parent = true;
  return request;
}

SpawnRequest DriverRequest(const std::vector<std::string>& program, const Installation& installation,
                           const NodePlan& plan, const ChildEnds& ends, const Environment& environment) {
  SpawnRequest request;
  request.argv = {plan.python};
  request.argv.insert(request.argv.end(), program.begin(), program.end());
  request.environment = ForPython(installation, plan, environment);
  request.environment.Set("RAY_ENGINE_DRIVER_FD", std::to_string(ends.driver));
  request.environment.Set("RAY_ENGINE_ADDRESS", plan.socket);
  request.inherited_fds = {ends.driver};
  request.die_with_parent = true;
  return request;
}

}  // namespace ray_engine
