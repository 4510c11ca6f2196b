//! DescribeCluster (KIP-700, KIP-919).

use super::{CLUSTER_OPERATIONS, OPERATIONS_OMITTED};
use crate::image::Image;
use crate::protocol::messages::describe_cluster_response::DescribeClusterBroker;
use crate::protocol::messages::{self, DescribeClusterRequest, DescribeClusterResponse};
use crate::protocol::{ErrorCode, text};
use crate::view::View;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// From this version on the type of endpoints can be chosen.
const FIRST_VERSION_WITH_ENDPOINT_TYPE: i16 = 1;

/// From this version on fenced brokers can be asked for, and are marked.
const FIRST_VERSION_WITH_FENCED: i16 = 2;

pub fn cluster(image: &Image, view: &View<'_>, request: &DescribeClusterRequest, version: i16) -> DescribeClusterResponse {
    let endpoint_type = if version >= FIRST_VERSION_WITH_ENDPOINT_TYPE { request.endpoint_type } else { BROKERS };
    match endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let message = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            return refuse(ErrorCode::MismatchedEndpointType, message.to_owned());
        }
        other => return refuse(ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}")),
    }
    let with_fenced = version >= FIRST_VERSION_WITH_FENCED && request.include_fenced_brokers;
    let brokers = view.brokers(image).into_iter().filter(|broker| with_fenced || !broker.fenced).map(|broker| {
        DescribeClusterBroker::default()
            .with_broker_id(messages::BrokerId(broker.id.get()))
            .with_host(text(broker.host))
            .with_port(i32::from(broker.port))
            .with_rack(broker.rack.map(text))
            .with_is_fenced(broker.fenced)
    });
    let operations = if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { OPERATIONS_OMITTED };
    DescribeClusterResponse::default()
        .with_endpoint_type(BROKERS)
        .with_cluster_id(text(image.cluster_id()))
        .with_controller_id(messages::BrokerId(view.id(view.controller).get()))
        .with_brokers(brokers.collect())
        .with_cluster_authorized_operations(operations)
}

fn refuse(code: ErrorCode, message: String) -> DescribeClusterResponse {
    DescribeClusterResponse::default()
        .with_error_code(code.code())
        .with_error_message(Some(text(message)))
        .with_endpoint_type(BROKERS)
        .with_controller_id(messages::BrokerId(-1))
        .with_cluster_authorized_operations(OPERATIONS_OMITTED)
}
