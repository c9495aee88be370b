#include "engine/node/node_config.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>

#include "engine/base/accelerators.h"
#include "engine/base/spill_directory.h"
#include "engine/wire/control_socket.h"

namespace ray_engine {
namespace {

constexpr char kTypeLabel[] = "ray.io/accelerator-type";

std::string HostName() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

std::string InterfaceOfDefaultRoute() {
  std::ifstream table("/proc/net/route");
  std::string interface, destination, rest;
  while (table >> interface >> destination && std::getline(table, rest)) {
    if (destination == "00000000") return interface;
  }
  return "";
}

int Descriptor(const Options& options, const char* name) {
  return options.Given(name) ? static_cast<int>(options.Integer(name)) : -1;
}

std::chrono::milliseconds Milliseconds(const Options& options, const char* seconds) {
  return std::chrono::milliseconds(std::llround(options.Number(seconds) * 1000));
}

ResourceSet TotalOf(const Options& options, const NodeInfo& node, bool head) {
  ResourceSet total = options.Amounts("resources");
  const auto set = [&total](const std::string& name, double amount) {
    total.Set(name, ResourceSet::FromDouble(amount));
  };
  if (options.Given("num-cpus")) set("CPU", options.Number("num-cpus"));
  if (options.Given("num-gpus")) set("GPU", options.Number("num-gpus"));
  if (options.Given("memory")) set("memory", static_cast<double>(options.Bytes("memory")));
  set("object_store_memory", static_cast<double>(node.store_bytes));
  set("node:" + node.address, 1);
  if (head) set("node:__internal_head__", 1);
  return total;
}

// Tasks ask for a type of accelerator by a resource of that name, or by the label.
void AddAcceleratorTypes(const Environment& environment, NodeInfo* node) {
  const auto label = [](const auto& entry) { return entry.first == kTypeLabel; };
  for (const AcceleratorFamily& family : Accelerators(environment)) {
    if (node->total.Get(family.resource) == 0) continue;
    const std::string type = AcceleratorType(family);
    if (type.empty()) continue;
    const std::string resource = "accelerator_type:" + type;
    if (node->total.Get(resource) == 0) node->total.Set(resource, ResourceSet::kUnit);
    if (std::none_of(node->labels.begin(), node->labels.end(), label)) node->labels.emplace_back(kTypeLabel, type);
  }
}

std::vector<std::pair<std::string, std::string>> VariablesOf(const Environment& environment) {
  std::vector<std::pair<std::string, std::string>> variables;
  for (const AcceleratorFamily& family : Accelerators(environment)) {
    if (environment.Has(family.variable)) variables.emplace_back(family.variable, environment.Get(family.variable));
  }
  return variables;
}

NodeInfo InfoOf(const Options& options, bool head) {
  NodeInfo node;
  node.id = NodeId::Random();
  node.hostname = HostName();
  node.address = MachineAddress();
  node.name = options.Given("node-name") ? options.Text("node-name") : node.hostname;
  node.store_bytes = options.Bytes("object-store-memory");
  node.total = TotalOf(options, node, head);
  node.labels = options.Labels("labels");
  AddAcceleratorTypes(Environment::OfThisProcess(), &node);
  node.available = node.total;
  node.labels.emplace_back("ray.io/node-id", node.id.Hex());
  return node;
}

}  // namespace

NodeConfig ConfigOf(const Options& options) {
  NodeConfig config;
  config.control_fd = Descriptor(options, "control-fd");
  config.forkserver_fd = Descriptor(options, "forkserver-fd");
  config.driver_fd = Descriptor(options, "driver-fd");
  config.head = options.Flag("head");
  config.fabric = options.Flag("fabric");
  config.virtual_nodes = options.Flag("virtual");
  config.session = options.Text("session");
  config.join = options.Text("join");
  config.log_dir = options.Text("log-dir");
  config.forkserver_cpus = options.Given("forkserver-cpus") ? options.Number("forkserver-cpus") : 1;
  config.heartbeat = {Milliseconds(options, "heartbeat-interval"), Milliseconds(options, "heartbeat-limit")};
  config.accelerator_environment = VariablesOf(Environment::OfThisProcess());
  config.info = InfoOf(options, config.head);
  config.store_bytes = config.info.store_bytes;
  config.spill_directory = options.Given("spill-directory") ? options.Text("spill-directory")
                                                            : DefaultSpillDirectory(Environment::OfThisProcess());
  if (options.Given("spill-limit")) config.spill_limit = options.Bytes("spill-limit");
  config.socket = options.Text("socket");
  if (config.socket.empty())
    config.socket = EngineSocketName(config.session, config.head ? "0" : config.info.id.Hex().substr(0, 16));
  return config;
}

std::string MachineAddress() {
  const std::string preferred = InterfaceOfDefaultRoute();
  std::string address;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return "127.0.0.1";
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    const bool usable = one->ifa_addr != nullptr && one->ifa_addr->sa_family == AF_INET &&
                        (one->ifa_flags & IFF_UP) != 0 && (one->ifa_flags & IFF_LOOPBACK) == 0;
    if (!usable || (!address.empty() && preferred != one->ifa_name)) continue;
    char text[INET_ADDRSTRLEN] = "";
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr, text, sizeof text);
    address = text;
    if (preferred == one->ifa_name) break;
  }
  freeifaddrs(all);
  return address.empty() ? "127.0.0.1" : address;
}

}  // namespace ray_engine
