//! `net.cidr_…`: addresses and networks. An address that has bits beyond its network's prefix names
//! the network that it is in.

use std::net::IpAddr;

use ipnet::IpNet;
use regorus::Value;

use super::limited::elements;
use super::{Failure, Row, text, undefined};

pub(super) const TABLE: &[Row] = &[
    Row("net.cidr_contains", 2, contains),
    Row("net.cidr_expand", 1, expand),
    Row("net.cidr_intersects", 2, intersects),
    Row("net.cidr_is_valid", 1, is_valid),
];

fn is_valid(arguments: &[Value]) -> Result<Value, Failure> {
    Ok(Value::from(text(arguments, 0)?.parse::<IpNet>().is_ok()))
}

fn contains(arguments: &[Value]) -> Result<Value, Failure> {
    let (network, other) = (network(arguments, 0)?, text(arguments, 1)?);
    Ok(Value::from(match other.contains('/') {
        true => network.contains(&self::network(arguments, 1)?),
        false => {
            let address: IpAddr = other.parse().map_err(|_| undefined("invalid IP address"))?;
            network.contains(&address)
        }
    }))
}

fn intersects(arguments: &[Value]) -> Result<Value, Failure> {
    let (one, other) = (network(arguments, 0)?, network(arguments, 1)?);
    Ok(Value::from(one.contains(&other) || other.contains(&one)))
}

/// All of its addresses, also the first and the last.
fn expand(arguments: &[Value]) -> Result<Value, Failure> {
    let network = network(arguments, 0)?;
    let bits = u32::from(network.max_prefix_len() - network.prefix_len());
    let count = 1_i64.checked_shl(bits).filter(|count| *count > 0);
    elements(count.unwrap_or(i64::MAX))?;
    let texts: Vec<Value> = match network {
        IpNet::V4(network) => {
            let first = network.network().to_bits();
            (first..=network.broadcast().to_bits())
                .map(|bits| address(bits.to_be_bytes()))
                .collect()
        }
        IpNet::V6(network) => {
            let first = network.network().to_bits();
            (first..=network.broadcast().to_bits())
                .map(|bits| address(bits.to_be_bytes()))
                .collect()
        }
    };
    Ok(Value::from(texts))
}

fn address(bytes: impl Into<IpAddr>) -> Value {
    Value::from(bytes.into().to_string())
}

fn network(arguments: &[Value], at: usize) -> Result<IpNet, Failure> {
    let network: IpNet = text(arguments, at)?.parse().map_err(|_| undefined("invalid CIDR"))?;
    Ok(network.trunc())
}
