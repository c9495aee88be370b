#include "engine/transport/ucx_worker.h"

#include <absl/strings/str_cat.h>

#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "engine/transport/fabric_settings.h"

namespace ray_engine {

absl::Status UcxStatus(ucs_status_t status, const std::string& what) {
  if (status == UCS_OK) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(what, ": ", ucs_status_string(status)));
}

absl::Status UcxWorker::Start(const UcxFabricOptions& options) {
  absl::Status status = StartContext(options);
  if (status.ok()) status = StartWorker();
  if (status.ok()) status = ReadAddress();
  return status;
}

absl::Status UcxWorker::StartContext(const UcxFabricOptions& options) {
  ucp_config_t* config = nullptr;
  absl::Status status = UcxStatus(ucp_config_read(nullptr, nullptr, &config), "cannot read the UCX configuration");
  if (!status.ok()) return status;
  for (const auto& [name, value] : FabricSettings(options.virtual_nodes, options.interface)) {
    const ucs_status_t modified = ucp_config_modify(config, name.c_str(), value.c_str());
    if (status.ok()) status = UcxStatus(modified, absl::StrCat("UCX does not take ", name, "=", value));
  }
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.name = "ray-engine";
  if (status.ok()) status = UcxStatus(ucp_init(&params, config, &context_), "cannot start UCX");
  ucp_config_release(config);
  return status;
}

absl::Status UcxWorker::StartWorker() {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SINGLE;
  absl::Status status = UcxStatus(ucp_worker_create(context_, &params, &worker_), "cannot make a UCX worker");
  if (!status.ok()) return status;
  return UcxStatus(ucp_worker_get_efd(worker_, &event_fd_), "the UCX worker has no event descriptor");
}

absl::Status UcxWorker::ReadAddress() {
  ucp_address_t* address = nullptr;
  size_t size = 0;
  absl::Status status = UcxStatus(ucp_worker_get_address(worker_, &address, &size), "the UCX worker has no address");
  if (!status.ok()) return status;
  address_.assign(reinterpret_cast<const char*>(address), size);
  ucp_worker_release_address(worker_, address);
  return absl::OkStatus();
}

absl::Status UcxWorker::Handle(UcxMessage kind, ucp_am_recv_callback_t callback, void* arg) {
  ucp_am_handler_param_t param{};
  param.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG |
                     UCP_AM_HANDLER_PARAM_FIELD_FLAGS;
  param.id = kind;
  param.cb = callback;
  param.arg = arg;
  param.flags = UCP_AM_FLAG_WHOLE_MSG;
  return UcxStatus(ucp_worker_set_am_recv_handler(worker_, &param), "UCX takes no active message handler");
}

std::vector<std::string> UcxWorker::Networks() const {
  char* text = nullptr;
  std::size_t size = 0;
  FILE* stream = open_memstream(&text, &size);
  if (stream == nullptr) return {};
  ucp_context_print_info(context_, stream);
  std::fclose(stream);
  std::istringstream lines(std::string(text, size));
  std::free(text);
  std::vector<std::string> networks;  // from lines "# resource 3 : md 1 dev 2 flags -- tcp/eth0"
  for (std::string line; std::getline(lines, line);) {
    const std::string network = line.substr(line.rfind(' ') + 1);
    const bool inside = network.find("/memory") != std::string::npos;
    if (line.find("resource") != std::string::npos && !inside) networks.push_back(network);
  }
  return networks;
}

void UcxWorker::Stop() {
  if (worker_ != nullptr) ucp_worker_destroy(worker_);
  if (context_ != nullptr) ucp_cleanup(context_);
  worker_ = nullptr;
  context_ = nullptr;
}

std::string FabricVersion() { return ucp_get_version_string(); }

}  // namespace ray_engine
