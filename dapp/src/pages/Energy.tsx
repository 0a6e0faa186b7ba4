export default function Energy() {
  return null;
}
