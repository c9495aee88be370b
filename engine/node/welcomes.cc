#include "engine/node/welcomes.h"

#include "engine/base/version.h"

namespace ray_engine {

Welcome Welcomes::For(const Process& process) const {
  Welcome welcome;
  welcome.build = BuildId();
  welcome.session = config_->session;
  welcome.process = {config_->info.index, process.serial};
  welcome.worker = process.worker;
  welcome.node = config_->info.id;
  welcome.engine_link = links_->EngineLinkOf(process.serial);
  welcome.link_segment_bytes = links_->segment().bytes();
  welcome.store_segment_bytes = store_->size();
  welcome.node_address = config_->info.address;
  welcome.hostname = config_->info.hostname;
  welcome.socket_name = config_->socket;
  welcome.node_index = config_->info.index;
  return welcome;
}

std::vector<int> Welcomes::Fds() const { return {links_->segment().fd(), store_->fd(), links_->eventfd()}; }

}  // namespace ray_engine
