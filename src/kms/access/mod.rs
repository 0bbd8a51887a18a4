//! Who may do what with a key: key policies and grants, decided on every call.
//!
//! An explicit Deny of the key policy wins; then an Allow of the key policy, or a grant, is needed.
//! docs/KMS.md, "Who may do what".

mod condition;
mod decide;
mod document;
pub(crate) mod glob;
mod grant;
mod grant_ops;
mod policy_ops;

pub(crate) use decide::{Asked, Granting, authorize, is_forbidden, keeps_control};
pub(crate) use document::KeyPolicy;
pub use grant::GrantOperation;
pub(crate) use grant::{Grant, GrantConstraints};
pub use grant_ops::{CreateGrant, CreatedGrant, GrantEntry, ListGrants, RetireGrant};
pub(crate) use policy_ops::{as_map, check_control, default_policy};
