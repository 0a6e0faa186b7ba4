export default function Community() {
  return null;
}
