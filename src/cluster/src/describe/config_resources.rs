//! ListConfigResources (KIP-1142).

use crate::image::Image;
use crate::protocol::messages::list_config_resources_response::ConfigResource;
use crate::protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use crate::protocol::{ErrorCode, text};
use crate::resource::ResourceType::{self, Broker, BrokerLogger, ClientMetrics, Group, Topic};
use crate::view::View;
use std::collections::BTreeSet;

/// The version in which only subscriptions of client metrics were listed.
const VERSION_OF_CLIENT_METRICS: i16 = 0;

pub fn config_resources(image: &Image, view: &View<'_>, request: &ListConfigResourcesRequest, version: i16) -> ListConfigResourcesResponse {
    let all = [Topic, Broker, BrokerLogger, ClientMetrics, Group];
    let types: Option<BTreeSet<ResourceType>> = match version {
        VERSION_OF_CLIENT_METRICS => Some([ClientMetrics].into()),
        _ if request.resource_types.is_empty() => Some(all.into()),
        _ => request.resource_types.iter().map(|&code| ResourceType::from_code(code)).collect(),
    };
    let Some(types) = types else {
        return ListConfigResourcesResponse::default().with_error_code(ErrorCode::UnsupportedVersion.code());
    };
    let mut resources = Vec::new();
    for resource_type in types {
        let mut add = |name: String| resources.push(resource(resource_type, name));
        match resource_type {
            Topic => image.topics().for_each(|topic| add(topic.name.to_string())),
            Broker | BrokerLogger => view.brokers(image).iter().for_each(|broker| add(broker.id.to_string())),
            ClientMetrics | Group => {
                image.configured_resources().filter(|(of, _)| *of == resource_type).for_each(|(_, name)| add(name.to_owned()))
            }
        }
    }
    ListConfigResourcesResponse::default().with_config_resources(resources)
}

fn resource(resource_type: ResourceType, name: String) -> ConfigResource {
    ConfigResource::default().with_resource_name(text(name)).with_resource_type(resource_type.code())
}
