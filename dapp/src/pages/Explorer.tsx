export default function Explorer() {
  return null;
}
