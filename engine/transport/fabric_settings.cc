#include "engine/transport/fabric_settings.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <tuple>

namespace ray_engine {
namespace {

namespace fs = std::filesystem;

bool SetByUser(const std::string& name) { return std::getenv(name.c_str()) != nullptr; }

std::string FirstLine(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

bool RdmaIsUp() {
  std::error_code error;
  for (const auto& device : fs::directory_iterator("/sys/class/infiniband", error)) {
    for (const auto& port : fs::directory_iterator(device.path() / "ports", error)) {
      if (FirstLine(port.path() / "state").find("ACTIVE") != std::string::npos) return true;
    }
  }
  return false;
}

std::string DefaultRoute() {
  std::ifstream routes("/proc/net/route");
  std::string line, name, destination;
  while (std::getline(routes, line)) {
    std::istringstream(line) >> name >> destination;
    if (destination == "00000000") return name;
  }
  return "";
}

InterfaceFacts FactsOf(const ifaddrs& address) {
  const fs::path folder = fs::path("/sys/class/net") / address.ifa_name;
  InterfaceFacts facts;
  facts.name = address.ifa_name;
  facts.loopback = (address.ifa_flags & IFF_LOOPBACK) != 0;
  facts.physical = fs::exists(folder / "device");
  facts.megabits = std::max(std::atoll(FirstLine(folder / "speed").c_str()), 0LL);  // -1: the driver does not know
  return facts;
}

std::vector<InterfaceFacts> UsableInterfaces() {
  std::vector<InterfaceFacts> usable;
  ifaddrs* addresses = nullptr;
  if (getifaddrs(&addresses) != 0) return usable;
  for (const ifaddrs* at = addresses; at != nullptr; at = at->ifa_next) {
    const bool running = (at->ifa_flags & IFF_UP) != 0 && (at->ifa_flags & IFF_RUNNING) != 0;
    if (running && at->ifa_addr != nullptr && at->ifa_addr->sa_family == AF_INET) usable.push_back(FactsOf(*at));
  }
  freeifaddrs(addresses);
  return usable;
}

void LeaveToUser(const std::string& prefix, Settings* settings) {
  const auto is_set = [&](const auto& setting) { return SetByUser(prefix + setting.first); };
  settings->erase(std::remove_if(settings->begin(), settings->end(), is_set), settings->end());
}

Settings TcpOver(const std::string& interface) { return {{"TLS", "tcp,self"}, {"NET_DEVICES", interface}}; }

}  // namespace

std::string ChooseInterface(const std::vector<InterfaceFacts>& interfaces, const std::string& default_route) {
  const auto rank = [&](const InterfaceFacts& facts) {
    return std::make_tuple(!facts.loopback, facts.physical, facts.physical ? facts.megabits : 0,
                           facts.name == default_route);
  };
  const auto best = std::max_element(interfaces.begin(), interfaces.end(),
                                     [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  return best == interfaces.end() ? "lo" : best->name;
}

std::string MachineInterface() { return ChooseInterface(UsableInterfaces(), DefaultRoute()); }

Settings FabricSettings(bool virtual_nodes, const std::string& interface) {
  Settings settings;
  if (virtual_nodes) {
    settings = TcpOver("lo");
  } else if (!interface.empty()) {
    settings = TcpOver(interface);
  } else if (RdmaIsUp()) {
    // Shared memory between nodes that are one machine could be wedged by a process killed in the middle of a send.
    // Large messages are read by their receiver from the sender's memory, which UCX registers at its first use.
    settings = {{"TLS", "^tcp,posix,sysv,xpmem"}, {"RNDV_SCHEME", "get_zcopy"}};
  } else {
    settings = TcpOver(MachineInterface());
  }
  LeaveToUser("UCX_", &settings);
  return settings;
}

Settings FabricEnvironment() {
  Settings settings = {
      {"UCX_HANDLE_ERRORS", "none"},  // UCX would take over SIGSEGV and its like, which belong to the process
      {"UCX_LOG_LEVEL", "fatal"},     // it logs to stdout; what goes wrong comes back as a status or a lost peer
  };
  // It would patch mmap and its like in the whole process, which only caches of registered memory need.
  if (!RdmaIsUp()) settings.emplace_back("UCX_MEM_MMAP_HOOK_MODE", "none");
  LeaveToUser("", &settings);
  return settings;
}

}  // namespace ray_engine
