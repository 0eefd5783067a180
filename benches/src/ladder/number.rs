//! What a rung owes: numbers that remember how they were made.

use gradus::{BinaryOp, UnaryOp};

/// A graph that hands out numbers: its primitives.
///
/// A number is only a handle. What it stands for lies in the graph, which is why the graph is asked for everything.
pub trait Numbers<'g>: Sized + 'g {
    /// The handle of a number.
    type Number: Copy + 'g;
    /// What is made in one go rather than of primitives.
    type Shortcuts: Shortcuts<'g, Self>;

    /// A number from outside: a leaf.
    fn leaf(&'g self, x: f64) -> Self::Number;
    /// What a number is.
    fn value(&'g self, x: Self::Number) -> f64;
    /// A function of one number, as one node.
    fn unary(&'g self, f: UnaryOp, x: Self::Number) -> Self::Number;
    /// A function of two numbers, as one node.
    fn binary(&'g self, op: BinaryOp, a: Self::Number, b: Self::Number) -> Self::Number;

    /// Finds the gradient of `root` with respect to all that it was made from.
    fn backward(&'g self, root: Self::Number);
    /// The gradient of a number, after `backward`.
    fn grad(&'g self, x: Self::Number) -> f64;

    /// A list that lives as long as the graph.
    fn list(&'g self, len: usize, fill: impl FnMut(usize) -> Self::Number) -> &'g [Self::Number];
    /// How many nodes there are.
    fn len(&self) -> usize;

    /// `a + b`.
    fn add(&'g self, a: Self::Number, b: Self::Number) -> Self::Number {
        self.binary(BinaryOp::Add, a, b)
    }
    /// `a · b`.
    fn mul(&'g self, a: Self::Number, b: Self::Number) -> Self::Number {
        self.binary(BinaryOp::Mul, a, b)
    }
}

// ANCHOR: shortcuts
/// What follows from the primitives. These bodies say what is computed; a rung may override them with something faster.
pub trait Shortcuts<'g, G: Numbers<'g>> {
    /// `x · c`.
    fn scale(g: &'g G, x: G::Number, c: f64) -> G::Number {
        g.mul(x, g.leaf(c))
    }
    /// `x + c`.
    fn shift(g: &'g G, x: G::Number, c: f64) -> G::Number {
        g.add(x, g.leaf(c))
    }
    /// `-x`.
    fn neg(g: &'g G, x: G::Number) -> G::Number {
        Self::scale(g, x, -1.0)
    }
    /// `a - b`.
    fn sub(g: &'g G, a: G::Number, b: G::Number) -> G::Number {
        g.add(a, Self::neg(g, b))
    }
    /// `a / b`.
    fn div(g: &'g G, a: G::Number, b: G::Number) -> G::Number {
        g.mul(a, g.unary(UnaryOp::Power(-1.0), b))
    }
    /// `x₀ + x₁ + …`.
    fn sum(g: &'g G, terms: &'g [G::Number]) -> G::Number {
        let add = |sum, &x| g.add(sum, x);
        terms[1..].iter().fold(terms[0], add)
    }
    /// `a₀·b₀ + a₁·b₁ + …`.
    fn dot(g: &'g G, a: &'g [G::Number], b: &'g [G::Number]) -> G::Number {
        let product = |at: usize| g.mul(a[at], b[at]);
        (1..a.len()).fold(product(0), |sum, at| g.add(sum, product(at)))
    }
}
// ANCHOR_END: shortcuts
