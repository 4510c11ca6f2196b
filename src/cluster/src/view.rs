//! What clients see as brokers: shards, or whole nodes.

use crate::image::{Broker, Image};
use odradek_base::BrokerId;
use odradek_settings::Advertise;

/// The side of the cluster that a client on one listener sees.
///
/// The image always speaks of shards. With `odradek.advertise=node` clients see a node as one broker whose id is the
/// node id, and this type translates both ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View<'a> {
    pub advertise: Advertise,
    /// Name of the listener that the client came in through.
    pub listener: &'a str,
    /// The broker (shard) that runs the controller.
    pub controller: BrokerId,
}

/// A broker as clients see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenBroker {
    pub id: BrokerId,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
    pub fenced: bool,
}

impl View<'_> {
    /// The id that clients know a shard by.
    pub fn id(&self, broker: BrokerId) -> BrokerId {
        match self.advertise {
            Advertise::Cores => broker,
            Advertise::Node => BrokerId(broker.node_and_shard().0.get()),
        }
    }

    /// Ids that clients know some shards by, each once, in order.
    pub fn ids(&self, brokers: &[BrokerId]) -> Vec<BrokerId> {
        let mut seen = Vec::with_capacity(brokers.len());
        for &broker in brokers {
            let id = self.id(broker);
            if !seen.contains(&id) {
                seen.push(id);
            }
        }
        seen
    }

    /// Brokers that have this listener, by id. A node is there when one of its shards is.
    pub fn brokers(&self, image: &Image) -> Vec<SeenBroker> {
        let mut seen: Vec<SeenBroker> = Vec::new();
        for broker in image.brokers() {
            let Some(endpoint) = broker.endpoint(self.listener) else { continue };
            let id = self.id(broker.id);
            match seen.last_mut() {
                Some(last) if last.id == id => last.fenced &= broker.fenced,
                _ => seen.push(SeenBroker {
                    id,
                    host: endpoint.host.clone(),
                    port: endpoint.port,
                    rack: broker.rack.clone(),
                    fenced: broker.fenced,
                }),
            }
        }
        seen
    }

    /// Whether clients know a broker of that id.
    pub fn has_broker(&self, image: &Image, id: BrokerId) -> bool {
        self.shards_of(image, id).next().is_some()
    }

    /// The shards behind an id that clients use.
    pub fn shards_of<'i>(&self, image: &'i Image, id: BrokerId) -> impl Iterator<Item = &'i Broker> + use<'i> {
        let view = View { listener: "", ..*self };
        image.brokers().filter(move |broker| view.id(broker.id) == id)
    }
}
