// The least a Worker can do. `cargo xtask bench worker` compares the functions with it.
export default {
  fetch() {
    return Response.json({ status: "ok" });
  },
};
