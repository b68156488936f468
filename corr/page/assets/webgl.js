"use strict";
// Data out of the page and shaders into the graphics card.

function bytesOf(id) {
  const element = document.getElementById(id);
  if (!element) return new Uint8Array(0);
  const text = atob(element.textContent.trim()), out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

function openWebGl(canvas) {
  const gl = canvas.getContext("webgl2", { antialias: false, alpha: false, preserveDrawingBuffer: true });
  if (!gl) throw new Error("this browser offers no WebGL 2");
  return gl;
}

// Asks for a picture: however often it is called, `draw` runs once in the next frame.
function oncePerFrame(draw) {
  let asked = false;
  return () => { if (!asked) { asked = true; requestAnimationFrame(() => { asked = false; draw(); }); } };
}

function makeProgram(gl, vertex, fragment, written) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source); gl.compileShader(shader); gl.attachShader(program, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost())
      throw new Error(gl.getShaderInfoLog(shader));
  }
  if (written) gl.transformFeedbackVaryings(program, written, gl.INTERLEAVED_ATTRIBS);
  gl.linkProgram(program);
  const uniforms = {}, n = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS);
  for (let i = 0; i < n; i++) {
    const { name } = gl.getActiveUniform(program, i);
    uniforms[name] = gl.getUniformLocation(program, name);
  }
  return { program, u: uniforms, at: name => gl.getAttribLocation(program, name) };
}
