"use strict";
// The engine: numbers that remember how they were made.
//
// It is src/scalar/value.rs on one page. A Graph is one calculation. It keeps its Values in the order in which they
// were made, so every operand comes before its results, and reading the list from its end is all that a backward pass
// needs: no sort and no recursion.

// The table of derivatives, as in src/function.rs: what each function computes, and how fast its result y changes with
// each of its operands. A gradient needs nothing else.
const OPS = {
  add: { eval: (a, b) => a + b, slopes: () => [1, 1] },
  sub: { eval: (a, b) => a - b, slopes: () => [1, -1] },
  mul: { eval: (a, b) => a * b, slopes: (y, a, b) => [b, a] },
  div: { eval: (a, b) => a / b, slopes: (y, a, b) => [1 / b, -y / b] },
};

// Functions of one number x. Some have a constant c, which needs no node of its own.
const FUNCTIONS = {
  neg: { eval: (x) => -x, slope: () => -1 },
  shift: { eval: (x, c) => x + c, slope: () => 1 },
  scale: { eval: (x, c) => x * c, slope: (y, x, c) => c },
  over: { eval: (x, c) => c / x, slope: (y, x) => -y / x },
  pow: { eval: (x, p) => x ** p, slope: (y, x, p) => p * x ** (p - 1) },
  relu: { eval: (x) => Math.max(x, 0), slope: (y, x) => (x > 0 ? 1 : 0) },
  tanh: { eval: (x) => Math.tanh(x), slope: (y) => 1 - y * y },
};

/** One number of a calculation: itself, its gradient, and how it was made. A leaf has no operands. */
class Value {
  constructor(graph, data, op, operands, c) {
    Object.assign(this, { graph, data, op, operands, c, grad: 0, place: graph.nodes.length });
    graph.nodes.push(this);
  }

  /** A function of this number. */
  apply(op, c) {
    return new Value(this.graph, FUNCTIONS[op].eval(this.data, c), op, [this], c);
  }

  /** This number and another one; a plain number becomes the constant of a function. */
  combine(op, b) {
    return new Value(this.graph, OPS[op].eval(this.data, b.data), op, [this, b]);
  }

  add(b) {
    return b instanceof Value ? this.combine("add", b) : this.apply("shift", b);
  }

  sub(b) {
    return b instanceof Value ? this.combine("sub", b) : this.apply("shift", -b);
  }

  mul(b) {
    return b instanceof Value ? this.combine("mul", b) : this.apply("scale", b);
  }

  div(b) {
    return b instanceof Value ? this.combine("div", b) : this.apply("scale", 1 / b);
  }

  neg() { return this.apply("neg"); }
  over(c) { return this.apply("over", c); } // c / x
  pow(p) { return this.apply("pow", p); }
  relu() { return this.apply("relu"); }
  tanh() { return this.apply("tanh"); }

  /** How fast this number changes with each of its operands. */
  slopes() {
    const x = this.operands.map((operand) => operand.data);
    if (this.op in OPS) return OPS[this.op].slopes(this.data, ...x);
    return [FUNCTIONS[this.op].slope(this.data, ...x, this.c)];
  }

  /**
   * The chain rule: the gradient of each operand grows by this number's gradient times the slope toward that operand.
   * It grows rather than is set, since an operand may have several uses. A gradient of zero does not flow on.
   */
  chain() {
    const slopes = this.slopes();
    return this.operands.map((operand, i) => {
      const term = { operand, slope: slopes[i], before: operand.grad, share: this.grad && slopes[i] * this.grad };
      operand.grad += term.share;
      return term;
    });
  }

  /** Finds the gradient of this number with respect to every number that it was made from. */
  backward() {
    for (const _ of this.graph.backward(this)); // all steps
  }
}

/** A calculation in the making. */
class Graph {
  nodes = [];

  /** A leaf: a number that is put in. */
  value(data) {
    return new Value(this, data, null, []);
  }

  /** The backward pass from a result, so that it can be watched: the start, then one computed number at a time. */
  *backward(result) {
    this.nodes.forEach((node) => (node.grad = 0));
    result.grad = 1; // it changes by 1 when it changes by 1
    yield { node: result, terms: [] };
    for (const node of this.nodes.slice(0, result.place + 1).reverse()) {
      if (node.operands.length > 0) yield { node, terms: node.chain() };
    }
  }
}
