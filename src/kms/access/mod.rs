//! Who may do what with a key: key policies and grants, decided on every call.
//!
//! An explicit Deny wins; then an Allow of the key policy, or a grant, is needed. Where the key policy
//! allows the account, a principal's own policy decides.
//! docs/KMS.md, "Who may do what".

mod action;
mod condition;
mod decide;
mod document;
mod facts;
mod grant;
mod grant_ops;
mod network;
mod policy_ops;
mod text;

pub(crate) use action::Action;
pub(crate) use decide::{Granting, authorize, authorize_identity, is_forbidden, keeps_control};
pub use document::IdentityPolicy;
pub(crate) use document::KeyPolicy;
pub(crate) use facts::Asked;
pub use grant::GrantOperation;
pub(crate) use grant::{Grant, GrantConstraints};
pub use grant_ops::{CreateGrant, CreatedGrant, GrantEntry, ListGrants, RetireGrant};
pub(crate) use policy_ops::{as_map, check_policy, default_policy, read_policy, service_policy};
pub(crate) use text::is_like;
