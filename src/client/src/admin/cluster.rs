//! The cluster itself: DescribeCluster, with Metadata where the broker is older.

use super::Admin;
use crate::cluster::Topics;
use crate::error::ClientError;
use odradek_wire::messages::DescribeClusterRequest;

/// A broker of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterBroker {
    pub id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

impl Admin<'_> {
    /// Brokers in order of their ids.
    pub fn describe_cluster(&mut self) -> Result<Vec<ClusterBroker>, ClientError> {
        let mut brokers: Vec<ClusterBroker> = match self.cluster.call_any(&DescribeClusterRequest::default().with_endpoint_type(1)) {
            Ok(response) => {
                ClientError::check(response.error_code, "DescribeCluster", response.error_message.as_deref())?;
                let of = |b: odradek_wire::messages::describe_cluster_response::DescribeClusterBroker| ClusterBroker {
                    id: b.broker_id.0,
                    host: b.host.to_string(),
                    port: b.port,
                    rack: b.rack.map(|r| r.to_string()),
                };
                response.brokers.into_iter().map(of).collect()
            }
            Err(ClientError::UnsupportedVersion { .. }) => {
                self.cluster.refresh(Topics::None, false)?;
                let of = |b: &crate::cluster::Broker| ClusterBroker { id: b.id, host: b.host.clone(), port: b.port, rack: b.rack.clone() };
                self.cluster.brokers().map(of).collect()
            }
            Err(error) => return Err(error),
        };
        brokers.sort_by_key(|b| b.id);
        Ok(brokers)
    }
}
