//! What a rung has to provide: scalar values that remember how they were made.

use gradus::{BinaryOp, UnaryOp};

/// A graph of scalar values: its primitive operations.
///
/// A value is only a handle. Its number and its gradient are stored in the graph, so every operation is a method of the
/// graph.
pub trait ScalarGraph<'g>: Sized + 'g {
    /// The handle of a value.
    type Value: Copy + 'g;
    /// How everything else is made from the primitives.
    type Derived: DerivedOps<'g, Self>;

    /// A value from outside: a leaf.
    fn leaf(&'g self, x: f64) -> Self::Value;
    /// The number of a value.
    fn data(&'g self, x: Self::Value) -> f64;
    /// `f(x)` as one node.
    fn unary(&'g self, f: UnaryOp, x: Self::Value) -> Self::Value;
    /// `a ∘ b` as one node.
    fn binary(&'g self, op: BinaryOp, a: Self::Value, b: Self::Value) -> Self::Value;

    /// Computes the gradient of `root` with respect to every value it depends on.
    fn backward(&'g self, root: Self::Value);
    /// The gradient of a value, after `backward`.
    fn grad(&'g self, x: Self::Value) -> f64;

    /// A slice of values that lives as long as the graph.
    fn alloc_slice(&'g self, len: usize, fill: impl FnMut(usize) -> Self::Value) -> &'g [Self::Value];
    /// How many nodes the graph has.
    fn node_count(&self) -> usize;

    /// `a + b`.
    fn add(&'g self, a: Self::Value, b: Self::Value) -> Self::Value {
        self.binary(BinaryOp::Add, a, b)
    }
    /// `a · b`.
    fn mul(&'g self, a: Self::Value, b: Self::Value) -> Self::Value {
        self.binary(BinaryOp::Mul, a, b)
    }
}

// ANCHOR: derived
/// Operations that follow from the primitives. The default bodies define what is computed; a rung may override them with
/// something faster.
pub trait DerivedOps<'g, G: ScalarGraph<'g>> {
    /// `x · c`.
    fn scale(g: &'g G, x: G::Value, c: f64) -> G::Value {
        g.mul(x, g.leaf(c))
    }
    /// `x + c`.
    fn shift(g: &'g G, x: G::Value, c: f64) -> G::Value {
        g.add(x, g.leaf(c))
    }
    /// `-x`.
    fn neg(g: &'g G, x: G::Value) -> G::Value {
        Self::scale(g, x, -1.0)
    }
    /// `a - b`.
    fn sub(g: &'g G, a: G::Value, b: G::Value) -> G::Value {
        g.add(a, Self::neg(g, b))
    }
    /// `a / b`.
    fn div(g: &'g G, a: G::Value, b: G::Value) -> G::Value {
        g.mul(a, g.unary(UnaryOp::Power(-1.0), b))
    }
    /// `x₀ + x₁ + …`.
    fn sum(g: &'g G, terms: &'g [G::Value]) -> G::Value {
        let add = |sum, &x| g.add(sum, x);
        terms[1..].iter().fold(terms[0], add)
    }
    /// `a₀·b₀ + a₁·b₁ + …`.
    fn dot(g: &'g G, a: &'g [G::Value], b: &'g [G::Value]) -> G::Value {
        let product = |k: usize| g.mul(a[k], b[k]);
        (1..a.len()).fold(product(0), |sum, k| g.add(sum, product(k)))
    }
}
// ANCHOR_END: derived
